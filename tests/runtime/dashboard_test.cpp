#include <catga/runtime/admin/ui/page.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace {

const std::string_view html = catga::admin::dashboard().html,
                       policy = catga::admin::dashboard().policy;

/// What `html` has between the first `from` and the next `to`.
std::string_view between(std::string_view from, std::string_view to) {
  const auto begin = html.find(from);
  if (begin == html.npos) return {};
  const auto start = begin + from.size();
  return html.substr(start, html.find(to, start) - start);
}

}  // namespace

TEST_CASE("the dashboard is one whole page below 100 KB") {
  CHECK(html.starts_with("<!doctype html>"));
  CHECK(html.ends_with("</html>\n"));
  CHECK(html.size() < 100'000);
  CHECK(html.find('\0') == html.npos);
}

TEST_CASE("the dashboard names no other host to fetch from") {
  for (const char* loads : {"src=", "@import", "url(", "<iframe", "import("}) {
    CAPTURE(loads);
    CHECK(html.find(loads) == html.npos);
  }
  // The two names of the SVG language are no addresses.
  for (auto at = html.find("://"); at != html.npos; at = html.find("://", at + 1)) {
    CHECK(html.substr(at + 3, 6) == "www.w3");
  }
}

TEST_CASE("the policy of the dashboard lets run what is in the page, and nothing else") {
  CHECK(policy.starts_with("default-src 'none'; script-src 'sha256-"));
  CHECK(policy.find("connect-src 'self'") != policy.npos);
  CHECK(policy.find("unsafe") == policy.npos);
  // What has no hash would not run: attributes with script or style in them.
  const std::string_view body = between("<body>", "<script>");
  for (const char* attribute : {" style=", " onclick=", " onload="}) {
    CAPTURE(attribute);
    CHECK(body.find(attribute) == body.npos);
  }
}
