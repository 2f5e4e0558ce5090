// One question to a running node, or one order: what the HTTP listener and the NATS subject of operators both carry.
#pragma once
#include <map>
#include <string>

namespace catga::admin {

/// As in HTTP, whoever carries it. Paths begin with /api/v1/; keys of entities travel in the query, never in the path.
struct Request {
  std::string method = "GET";  ///< GET, or POST for what changes something
  std::string path;
  std::map<std::string, std::string> query;
  std::string body;        ///< JSON, or empty
  std::string client;      ///< who asks, for the log: an address, or "nats"
  bool may_write = false;  ///< the carrier has checked it (token, read_only)
};

/// 64-bit numbers are strings in it. An error is {"error":{"code":"not_found","message":"...","retry":false}}.
struct Answer {
  int status = 200;
  std::string body;  ///< JSON
};

}  // namespace catga::admin
