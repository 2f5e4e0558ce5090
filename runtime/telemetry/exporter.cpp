#include "catga/runtime/telemetry/exporter.hpp"

#include "catga/persistence/named_thread.hpp"

#include <curl/curl.h>
#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <random>

namespace catga {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds look_every{100}, first_wait{1000}, longest_wait{30'000};
constexpr std::chrono::seconds retry_after_most{60}, batch_lives{60}, complain_every{60};
constexpr std::size_t answer_most = 4 << 20;

/// Once per process, as libcurl wants it; it has no right moment to end it.
void prepare_curl() {
  static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)done;
}

/// Empty if it cannot be compressed.
std::string gzipped(const std::string& body) {
  z_stream stream{};
  constexpr int gzip_window = 15 + 16;
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, gzip_window, 8,
                   Z_DEFAULT_STRATEGY) != Z_OK)
    return {};
  std::string out(deflateBound(&stream, static_cast<uLong>(body.size())), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));  // NOLINT: zlib's way
  stream.avail_in = static_cast<uInt>(body.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int ended = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return ended == Z_STREAM_END ? out : std::string{};
}

milliseconds jittered(milliseconds wait) {
  thread_local std::minstd_rand source{std::random_device{}()};
  std::uniform_real_distribution<double> factor(0.5, 1.5);
  return milliseconds(
      static_cast<std::int64_t>(static_cast<double>(wait.count()) * factor(source)));
}

}  // namespace

ExportVerdict verdict_of(long status, const std::string& retry_after, std::int64_t now) {
  using What = ExportVerdict::What;
  if (status == 200) return {What::done, {}};
  const bool again = status == 0 || status == 429 || (status >= 502 && status <= 504);
  if (!again) return {What::drop, {}};
  ExportVerdict verdict{What::again, {}};
  std::int64_t seconds = -1;
  const char* const end = retry_after.data() + retry_after.size();
  if (std::from_chars(retry_after.data(), end, seconds).ptr != end || retry_after.empty()) {
    const time_t date = retry_after.empty() ? -1 : curl_getdate(retry_after.c_str(), nullptr);
    seconds = date < 0 ? -1 : std::max<std::int64_t>(date - now, 0);
  }
  if (seconds >= 0)
    verdict.after = std::min<milliseconds>(
        std::chrono::seconds(std::min<std::int64_t>(seconds, 3600)), retry_after_most);
  return verdict;
}

// ---- the connection ------------------------------------------------------------------------------

/// One easy handle: it keeps its connections alive. Used by the exporter's thread only.
struct Exporter::Http {
  struct Answer {
    long status = 0;  ///< 0: none came
    std::string body, retry_after, error;
  };
  Http() {
    prepare_curl();
    handle.reset(curl_easy_init());
  }

  Answer post(const OtlpSignal& signal, const std::string& json, milliseconds timeout) {
    Answer answer;
    CURL* const curl = handle.get();
    if (curl == nullptr) return answer;
    curl_easy_reset(curl);
    const std::string packed = signal.gzip ? gzipped(json) : std::string{};
    const std::string& body = packed.empty() ? json : packed;
    std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(nullptr, curl_slist_free_all);
    const auto header = [&headers](const std::string& line) {
      curl_slist* const longer = curl_slist_append(headers.get(), line.c_str());
      if (longer == nullptr) return;
      (void)headers.release();
      headers.reset(longer);
    };
    header("Content-Type: application/json");
    if (!packed.empty()) header("Content-Encoding: gzip");
    header("Expect:");  // no waiting for 100-continue
    for (const auto& [name, value] : signal.headers) header(name + ": " + value);
    const auto set = [curl](CURLoption option, auto value) {
      (void)curl_easy_setopt(curl, option, value);
    };
    set(CURLOPT_URL, signal.url.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDS, body.data());
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    set(CURLOPT_HTTPHEADER, headers.get());
    set(CURLOPT_USERAGENT, "OTel-OTLP-Exporter-Catga-Cpp/" CATGA_VERSION);
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<std::int64_t>(timeout.count(), 1)));
    if (!signal.certificate.empty()) set(CURLOPT_CAINFO, signal.certificate.c_str());
    if (!signal.client_key.empty()) set(CURLOPT_SSLKEY, signal.client_key.c_str());
    if (!signal.client_certificate.empty()) set(CURLOPT_SSLCERT, signal.client_certificate.c_str());
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFODATA, this);
    set(CURLOPT_XFERINFOFUNCTION, &Http::keep_waiting);
    set(CURLOPT_WRITEDATA, &answer);
    set(CURLOPT_WRITEFUNCTION, &Http::take_body);
    set(CURLOPT_HEADERDATA, &answer);
    set(CURLOPT_HEADERFUNCTION, &Http::take_header);
    const CURLcode done = curl_easy_perform(curl);
    if (done == CURLE_OK)
      curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
    else
      answer.error = curl_easy_strerror(done);
    return answer;
  }

  static std::size_t take_body(char* bytes, std::size_t one, std::size_t count, void* to) {
    auto& answer = *static_cast<Answer*>(to);
    if (answer.body.size() + one * count > answer_most) return 0;  // ends the transfer
    answer.body.append(bytes, one * count);
    return one * count;
  }
  static std::size_t take_header(char* bytes, std::size_t one, std::size_t count, void* to) {
    constexpr std::string_view name = "retry-after:";
    std::string_view line(bytes, one * count);
    const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; };
    if (line.size() > name.size() && std::equal(name.begin(), name.end(), line.begin(),
                                                [&](char b, char a) { return same(a, b); })) {
      line.remove_prefix(name.size());
      while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
      while (!line.empty() && (line.back() == '\r' || line.back() == '\n' || line.back() == ' '))
        line.remove_suffix(1);
      static_cast<Answer*>(to)->retry_after = line;
    }
    return one * count;
  }

  /// Asked by libcurl several times a second; anything but 0 ends the transfer.
  static int keep_waiting(void* of, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    const auto& http = *static_cast<Http*>(of);
    return Clock::now() >= http.end_by.load(std::memory_order_relaxed) ? 1 : 0;
  }

  std::atomic<Clock::time_point> end_by{Clock::time_point::max()};
  std::unique_ptr<CURL, void (*)(CURL*)> handle{nullptr, curl_easy_cleanup};
};

// ---- the exporter --------------------------------------------------------------------------------

Exporter::Exporter(OtlpSettings settings, otlp::Resource resource,
                   std::function<void(const std::string&)> trouble)
    : settings_(std::move(settings)),
      resource_(std::move(resource)),
      trouble_(std::move(trouble)),
      spans_(settings_.traces, "traces"),
      records_(settings_.logs, "logs"),
      http_(std::make_unique<Http>()) {}

Exporter::~Exporter() { stop(milliseconds(0)); }

void Exporter::start() {
  spans_.due = Clock::now() + settings_.traces.every;
  records_.due = Clock::now() + settings_.logs.every;
  thread_ = named_thread("catga.export", [this] { run(); });
}

void Exporter::stop(milliseconds patience) {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard guard(lock_);
    stopping_ = true;
    stop_by_ = Clock::now() + patience;
    http_->end_by = stop_by_;
  }
  wake_.notify_all();
  thread_.join();
}

void Exporter::add(Span&& span) {
  if (settings_.traces.on && !spans_.ring.push(std::move(span)))
    spans_.counters.dropped.fetch_add(1, std::memory_order_relaxed);
}

void Exporter::take(const LogRecord& record) {
  if (!settings_.logs.on || record.logger == "telemetry") return;
  if (!record.event.empty() && !record.streamed) return;  // another node tells it
  otlp::LogItem item;
  item.unix_us = record.unix_us;
  item.severity = record.severity;
  item.body = record.message;
  item.logger = record.logger;
  item.event = record.event;
  item.context = record.context;
  if (!record.event_id.empty())
    item.attributes.emplace_back("catga.event.id", std::string(record.event_id));
  if (!record.view_version.empty())
    item.attributes.emplace_back("catga.view.version", std::string(record.view_version));
  for (const LogField& field : record.fields) item.attributes.emplace_back(field.name, field.value);
  if (!records_.ring.push(std::move(item)))
    records_.counters.dropped.fetch_add(1, std::memory_order_relaxed);
}

void Exporter::run() {
  for (bool last = false; !last;) {
    {
      std::unique_lock guard(lock_);
      wake_.wait_for(guard, look_every, [this] { return stopping_; });
      last = stopping_;
    }
    look_after(spans_, last);
    look_after(records_, last);
  }
}

template <class Item>
void Exporter::look_after(Signal<Item>& signal, bool last) {
  do {
    const auto now = Clock::now();
    if (!signal.batch) {
      const std::size_t waiting = signal.ring.size();
      const bool due = now >= signal.due || waiting >= signal.settings.batch || last;
      if (!due) return;
      signal.due = now + signal.settings.every;
      std::vector<Item> items;
      while (items.size() < signal.settings.batch) {
        auto item = signal.ring.pop();
        if (!item) break;
        items.push_back(std::move(*item));
      }
      if (items.empty()) return;
      signal.batch = Batch{encode(items), items.size(), now, now + batch_lives, first_wait};
    }
    if (!last && now < signal.batch->next) return;
    send(signal);
    if (last && (signal.batch || Clock::now() >= stop_by_)) {  // no second attempt any more
      std::size_t lost = signal.batch ? signal.batch->items : 0;
      while (signal.ring.pop()) ++lost;
      signal.counters.dropped.fetch_add(lost, std::memory_order_relaxed);
      return;
    }
  } while (!signal.batch);
}

template <class Item>
void Exporter::send(Signal<Item>& signal) {
  Batch& batch = *signal.batch;
  milliseconds timeout = signal.settings.timeout;
  {
    const std::lock_guard guard(lock_);
    if (stopping_)
      timeout =
          std::min(timeout, std::chrono::duration_cast<milliseconds>(stop_by_ - Clock::now()));
  }
  const Http::Answer answer = http_->post(signal.settings, batch.body, timeout);
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  const ExportVerdict verdict = verdict_of(answer.status, answer.retry_after, now);
  const std::string said =
      answer.status == 0 ? answer.error : "HTTP " + std::to_string(answer.status);
  const std::string where = std::string(signal.name) + " to " + signal.settings.url;
  switch (verdict.what) {
    case ExportVerdict::What::done: {
      const otlp::PartialSuccess partial = otlp::partial_success(answer.body);
      const auto rejected = static_cast<std::uint64_t>(
          std::clamp<std::int64_t>(partial.rejected, 0, static_cast<std::int64_t>(batch.items)));
      signal.counters.failed.fetch_add(rejected, std::memory_order_relaxed);
      signal.counters.exported.fetch_add(batch.items - rejected, std::memory_order_relaxed);
      if (rejected != 0 || !partial.error.empty())
        complain("the collector took only a part of the " + where + ": " + partial.error);
      signal.batch.reset();
      return;
    }
    case ExportVerdict::What::again: {
      complain("sending " + where + " fails (" + said + "); it is tried again");
      const milliseconds wait = verdict.after ? *verdict.after : jittered(batch.wait);
      batch.wait = std::min(batch.wait * 2, longest_wait);
      batch.next = Clock::now() + wait;
      if (batch.next < batch.give_up) return;
      break;
    }
    case ExportVerdict::What::drop:
      complain("the collector refuses the " + where + " (" + said + "): they are dropped");
      break;
  }
  signal.counters.failed.fetch_add(batch.items, std::memory_order_relaxed);
  signal.batch.reset();
}

std::string Exporter::encode(const std::vector<Span>& spans) const {
  return otlp::body_of(resource_, spans);
}

std::string Exporter::encode(const std::vector<otlp::LogItem>& records) const {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return otlp::body_of(resource_, records,
                       std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

void Exporter::complain(const std::string& text) {
  const auto now = Clock::now();
  if (complained_ && now - *complained_ < complain_every) return;
  complained_ = now;
  if (trouble_) trouble_(text);
}

}  // namespace catga
