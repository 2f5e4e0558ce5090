// ClusterTest: real nodes in this process, over a NATS and a Redis server of their own.
//
//   catga::test::ClusterTest cluster;
//   const auto started = cluster.start(3, [](catga::Node& node) { node.host<Account>(); });
//   auto alice = cluster.client().ref<Account>("alice");
//   alice.ask(Deposit{500}, 5s);
//   cluster.kill(0);                     // without handing over: the others notice and take its shards
//   alice.ask(GetBalance{}, 30s);
//
// The servers are processes on free ports of the loopback interface, with a temporary folder; nats-server and
// redis-server must be in the PATH. They end with this object, or when this process ends, however it does. Time is real.
#pragma once
#include "catga/runtime/client.hpp"
#include "catga/runtime/config.hpp"
#include "catga/runtime/node.hpp"
#include "catga/sharding/result.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace catga::test {

/// Not thread-safe; what it gives out is as thread-safe as ever.
class ClusterTest {
 public:
  ClusterTest();
  /// Kills the nodes that are left, ends the servers and removes the folder.
  ~ClusterTest();
  ClusterTest(const ClusterTest&) = delete;
  ClusterTest& operator=(const ClusterTest&) = delete;

  /// Whether both servers can be started here. A test that finds them missing should say so, not pass.
  static bool servers_installed();

  /// What differs from a small, quick cluster: 32 shards, two workers a node, a silent log. Before start().
  void configure(std::function<void(Config&)> change);
  /// Starts the servers and so many nodes, "node-0" and so on; `host` declares what each of them runs. Returns when all
  /// are UP. Errors: unavailable (a server or a node does not start, with its words).
  Status start(std::size_t nodes, std::function<void(Node&)> host);
  /// One more node. Returns its number. Errors: as of start().
  Result<std::size_t> add();

  /// A node that was started and neither stopped nor killed.
  Node& node(std::size_t number);
  std::size_t size() const;  ///< how many were started
  /// The settings of a node to come, for a program of your own.
  Config config(const std::string& name) const;
  /// Calls from outside the cluster. Connected when it is first used; throws std::runtime_error if it cannot be.
  Client& client();
  /// It hands its shards over and leaves. Errors: as of Node::stop().
  Status stop(std::size_t number);
  /// It is gone at once, and hands nothing over.
  void kill(std::size_t number);

 private:
  struct Private;
  std::unique_ptr<Private> private_;
};

}  // namespace catga::test
