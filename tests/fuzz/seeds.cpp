// Writes the inputs that fuzzing begins with, from the values the other tests use, made by the code
// that writes them in production. `fuzz_seeds FOLDER`: once more when a format changes.
#include <catga/entities/codec.hpp>
#include <catga/persistence/stores.hpp>
#include <catga/runtime/bookkeeping.hpp>
#include <catga/runtime/cluster/membership_wire.hpp>
#include <catga/runtime/messaging/wire.hpp>
#include <catga/runtime/outbox_entry.hpp>
#include <catga/sharding/token.hpp>

#include "everything.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace catga;

namespace {

class Corpus {
 public:
  Corpus(const std::filesystem::path& folder, const std::string& target)
      : folder_(folder / target) {
    std::filesystem::create_directories(folder_);
  }
  void add(const std::string& name, std::string_view bytes) {
    std::ofstream(folder_ / name, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

 private:
  std::filesystem::path folder_;
};

const Incarnation sender{0x0102030405060708, 0x090a0b0c0d0e0f10}, owner{0x11, 0x12};
const std::string binary("\0\xff|/", 4);

void wire_seeds(Corpus corpus) {
  Envelope envelope;
  envelope.entity = {"account", "alice/main"};
  envelope.message = "Deposit";
  envelope.payload = encode(fuzz::Line{"pen", 3});
  envelope.operation = {7, 8};
  envelope.operation_ms = 1'764'000'000'123;
  envelope.deadline_ms = 50'000;
  envelope.path = {{"order", "1"}, {"stock", "x|y"}};
  envelope.route_epoch = Epoch{0x1020304050607};
  envelope.hops = 3;
  envelope.reply_to = owner;
  envelope.correlation = 99;
  const std::string ask = wire::encode(envelope, 1000);
  envelope.kind = MessageClass::query;
  envelope.operation = {};
  envelope.path.clear();
  const std::string query = wire::encode(envelope, 1000);
  corpus.add("envelope", ask);
  corpus.add("envelope-query", query);

  const ShardId shard{513};
  const Epoch epoch{0x1020304050607};
  wire::Reply reply;
  reply.correlation = 99;
  reply.code = Code::overloaded;
  reply.retry_after_ms = 250;
  reply.bytes = binary;
  reply.shard = shard;
  reply.epoch = epoch;
  reply.owner = owner;
  wire::Reply good = reply;
  good.ok = true;
  wire::Handover handover;
  handover.shard = shard;
  handover.epoch = epoch;
  handover.chunk = 3;
  handover.last = true;
  handover.envelopes = {ask, "", query};
  const std::vector<std::pair<std::string, wire::Record>> records{
      {"message", wire::Message{ask}},
      {"reply-error", reply},
      {"reply", good},
      {"owns", wire::Owns{shard, epoch, owner}},
      {"want", wire::Want{shard}},
      {"offer", wire::Offer{shard, 77, epoch}},
      {"ready", wire::Ready{shard, 77}},
      {"refuse", wire::Refuse{shard, 77, "view"}},
      {"abort", wire::Abort{shard, 77}},
      {"handover", handover},
      {"handover-ack", wire::HandoverAck{shard, epoch, 3}}};
  std::string all = wire::header(sender, ViewVersion{42});
  corpus.add("batch-empty", all);
  for (const auto& [name, record] : records) {
    std::string batch = wire::header(sender, ViewVersion{42});
    wire::append(batch, record);
    corpus.add("batch-" + name, batch);
    wire::append(all, record);
  }
  corpus.add("batch-all", all);
}

void membership_seeds(Corpus corpus) {
  using membership::Frame;
  Frame frame;
  frame.from = sender;
  frame.view = ViewVersion{3};
  frame.number = 4;
  frame.score = 5;
  corpus.add("heartbeat", encode(frame));
  frame.type = Frame::Type::ping;
  frame.ping_back = true;
  corpus.add("ping", encode(frame));
  frame.type = Frame::Type::suspect;
  frame.about = owner;
  frame.redis = false;
  corpus.add("suspect", encode(frame));
  frame.type = Frame::Type::view;
  frame.before = ViewVersion{8};
  frame.row = "UP a 1 - host 1764000000123";
  corpus.add("view", encode(frame));
  frame.load = 77;
  frame.primary = "0123456789abcdef0123456789abcdef01234567";
  corpus.add("pieces", encode(frame));
  corpus.add("piece-of-a-later-version", encode(frame) + std::string("\x7f\0\x02xx", 5));
  corpus.add("echo", membership::echo_subject("c", sender, owner));
}

void codec_seeds(Corpus corpus) {
  fuzz::Everything all;
  corpus.add("defaults", encode(all));
  all.small = -5'000'000'000;
  all.large = ~std::uint64_t{0};
  all.tiny = -128;
  all.flag = true;
  all.single = 0.1F;
  all.real = 1e300;
  all.name = binary;
  all.colour = fuzz::Colour::green;
  all.lines = {{"pen", 3}, {"", 0}};
  all.bits = {true, false, true};
  all.by_name = {{"a", {"ink", 1}}, {"b", {}}};
  all.by_number = {{-5, "minus"}, {70000, "plus"}};
  all.perhaps = fuzz::Line{"cap", 2};
  all.three = {-1, 0, 300};
  all.tree.children.resize(2);
  all.tree.children[1].children.resize(1);
  corpus.add("everything", encode(all));
  corpus.add("tree", encode(all.tree));
  corpus.add("numbers", encode(std::map<std::string, std::vector<std::optional<double>>>{
                            {"a", {0.5, std::nullopt}}, {"b", {}}}));
  corpus.add("claim-array", std::string("\xdd\xff\xff\xff\xff", 5));
  corpus.add("claim-map", std::string("\xdf\xff\xff\xff\xff", 5));
  corpus.add("claim-text", std::string("\xdb\xff\xff\xff\xff", 5));
  corpus.add("extension", std::string("\xc7\x02\x05xx", 5));
  corpus.add("nested-64", std::string(63, '\x91') + '\x90');
  corpus.add("nested-65", std::string(64, '\x91') + '\x90');
}

void journal_seeds(Corpus corpus) {
  PendingTell tell;
  tell.source = {"order", "1"};
  tell.target = {"account", "a/b"};
  tell.operation = {7, 9};
  tell.at_ms = 1'764'000'000'123;
  tell.message = "Pay";
  tell.payload = binary;
  corpus.add("tell", bytes_of(tell));
  corpus.add("timer", bytes_of(TimerMessage{"Ring", binary}));
  tell.trace = {7, 8, 9, 1};
  corpus.add("tell-traced", bytes_of(tell));
  corpus.add("timer-traced", bytes_of(TimerMessage{"Ring", binary, {}, tell.trace}));
  corpus.add("timer-repeated-traced",
             bytes_of(TimerMessage{"Ring", binary, {258, Missed::all}, tell.trace}));
  for (const auto type : {OperationRecord::Type::reply, OperationRecord::Type::rejection,
                          OperationRecord::Type::tombstone}) {
    OperationRecord record;
    record.type = type;
    record.request_hash = 0x0102030405060708;
    record.time_ms = 1'764'000'000'123;
    record.reply = binary;
    corpus.add(std::string("record-") + static_cast<char>(type), bytes_of(record));
  }
  Generations generations;
  generations.floor = 1'764'000'000'000;
  generations.newer_created = 1'764'000'000'100;
  generations.newer_newest = 1'764'000'000'123;
  generations.older_newest = 1'764'000'000'050;
  generations.newer_count = 12;
  generations.newer_bytes = 3456;
  generations.erased = true;
  corpus.add("generations", bytes_of(generations));
  corpus.add("member", timer_member({"account", "a/b|c"}, "billing"));
  corpus.add("token", text_of(OwnerToken{Epoch{0x1020304050607}, owner}));
  corpus.add("row", "LEAVING node-1 16 1.2.3 host.example 1764000000123");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  wire_seeds({folder, "wire"});
  membership_seeds({folder, "membership"});
  codec_seeds({folder, "codec"});
  journal_seeds({folder, "journal"});
  return 0;
}
