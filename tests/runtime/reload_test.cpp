// What a second reading of the settings changes.
#include <catga/runtime/reload.hpp>

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using catga::Config;
using Keys = std::vector<std::string>;

TEST_CASE("settings are read again from where they came, and say what can change and what cannot") {
  const std::string path = (std::filesystem::temp_directory_path() /
                            ("catga-reload-" + std::to_string(::getpid()) + ".json"))
                               .string();
  const auto write = [&path](const std::string& text) { std::ofstream(path) << text; };
  write(R"({"log.level": "info", "cluster.shards": 64, "node.id": "one"})");
  const auto first = Config::parse({"--config", path, "--node-id", "two"});
  REQUIRE(first.ok());
  REQUIRE(first->again);
  const auto same = first->again();
  REQUIRE(same.ok());
  CHECK(catga::difference(*first, *same).applied.empty());
  CHECK(catga::difference(*first, *same).needs_restart.empty());

  write(R"({"log.level": "debug", "hot": {"share": 0.5}, "cluster.shards": 128, "node.id": "x"})");
  const auto second = first->again();
  REQUIRE(second.ok());
  CHECK(second->node.id == "two");  // the flag still wins
  const catga::Reload news = catga::difference(*first, *second);
  CHECK(news.applied == Keys{"log.level", "hot.share"});
  CHECK(news.needs_restart == Keys{"cluster.shards"});

  write(R"({"log.level": "loud"})");
  const auto wrong = second->again();
  REQUIRE_FALSE(wrong.ok());
  CHECK(wrong.error().text.find("\"loud\"") != std::string::npos);
  std::filesystem::remove(path);
  CHECK_FALSE(second->again().ok());
  CHECK_FALSE(Config::embedded().again);
}
