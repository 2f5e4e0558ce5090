// Sends spans and log records to a collector over OTLP/HTTP, from one thread. Nobody waits for it.
#pragma once
#include "catga/runtime/telemetry/bounded_ring.hpp"
#include "catga/runtime/telemetry/otlp_json.hpp"
#include "catga/runtime/telemetry/otlp_settings.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace catga {

/// What became of spans and of log records; a snapshot.
struct ExportFigures {
  std::uint64_t exported = 0;
  std::uint64_t failed = 0;   ///< refused by the collector, or given up
  std::uint64_t dropped = 0;  ///< no room
};

/// What an answer means for a batch. Pure.
struct ExportVerdict {
  enum class What : std::uint8_t { done, again, drop };
  What what = What::drop;
  std::optional<std::chrono::milliseconds> after;  ///< the collector's Retry-After, capped
};
/// `status` 0: no answer came. `retry_after`: the header's text, seconds or an HTTP date; `now`: seconds since 1970.
ExportVerdict verdict_of(long status, const std::string& retry_after, std::int64_t now);

/// Thread-safe.
class Exporter final : public LogTap {
 public:
  /// `trouble` hears in one sentence that sending fails, at most once a minute.
  Exporter(OtlpSettings settings, otlp::Resource resource,
           std::function<void(const std::string&)> trouble);
  ~Exporter() override;
  void start();
  /// Sends what waits, for at most `patience`, and ends.
  void stop(std::chrono::milliseconds patience);

  void add(Span&& span);
  /// Whether a span would find room now. Any thread.
  bool has_room() const { return spans_.ring.size() < spans_.ring.room(); }
  /// Events, and lines from WARN on; not those of the telemetry itself.
  void take(const LogRecord& record) override;
  ExportFigures spans() const { return spans_.figures(); }
  ExportFigures records() const { return records_.figures(); }

 private:
  struct Counters {
    std::atomic<std::uint64_t> exported{0}, failed{0}, dropped{0};
  };
  /// A batch on its way, to be repeated as it is.
  struct Batch {
    std::string body;
    std::size_t items = 0;
    std::chrono::steady_clock::time_point next{}, give_up{};
    std::chrono::milliseconds wait{1000};
  };
  template <class Item>
  struct Signal {
    Signal(const OtlpSignal& of, const char* called) : settings(of), name(called), ring(of.queue) {}
    const OtlpSignal& settings;
    const char* name;
    BoundedRing<Item> ring;
    Counters counters;
    std::optional<Batch> batch;
    std::chrono::steady_clock::time_point due{};
    ExportFigures figures() const {
      return {counters.exported.load(), counters.failed.load(), counters.dropped.load()};
    }
  };
  struct Http;
  void run();
  template <class Item>
  void look_after(Signal<Item>& signal, bool last);
  template <class Item>
  void send(Signal<Item>& signal);
  std::string encode(const std::vector<Span>& spans) const;
  std::string encode(const std::vector<otlp::LogItem>& records) const;
  void complain(const std::string& text);

  const OtlpSettings settings_;
  const otlp::Resource resource_;
  const std::function<void(const std::string&)> trouble_;
  Signal<Span> spans_;
  Signal<otlp::LogItem> records_;
  std::unique_ptr<Http> http_;
  std::mutex lock_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::chrono::steady_clock::time_point stop_by_{};
  std::optional<std::chrono::steady_clock::time_point> complained_;
  std::thread thread_;
};

}  // namespace catga
