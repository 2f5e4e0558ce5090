// Host, region and zone of a node, in one word of its row.
#include <catga/runtime/cluster/place.hpp>
#include <catga/sharding/view.hpp>

#include <doctest/doctest.h>

#include <string>

using namespace catga;

TEST_CASE("a node's region and zone stand behind its host, and come back") {
  const Place all{"machine-7", "eu-west-1", "eu-west-1a"};
  CHECK(word_of(all) == "machine-7;region=eu-west-1;zone=eu-west-1a");
  for (const Place& place : {all, Place{"h", "", ""}, Place{"h", "r", ""}, Place{"h", "", "z"}})
    CHECK(place_in(word_of(place)) == place);
}

TEST_CASE("rows of nodes that know no region are read as before, and newer words are skipped") {
  CHECK(place_in("10.0.0.7") == Place{"10.0.0.7", "", ""});
  CHECK(place_in("-") == Place{"-", "", ""});
  CHECK(place_in("") == Place{});
  CHECK(place_in("h;rack=9;zone=z;") == Place{"h", "", "z"});
}

TEST_CASE("an older node can read the row of one that knows its region") {
  Member member;
  member.incarnation = Incarnation{1, 2};
  member.name = "bank-0";
  member.app_version = "-";
  member.host = word_of({"bank-0", "eu-west-1", "eu-west-1a"});
  const auto read = parse_row(member.incarnation, row_of(member));  // older nodes have this parser
  REQUIRE(read.ok());
  CHECK(read->host == member.host);
}
