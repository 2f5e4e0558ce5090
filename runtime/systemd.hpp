// What systemd wants to hear from a service of Type=notify: words to a socket, without its library.
//
// Without $NOTIFY_SOCKET nothing is said. The variables are taken out of the environment, so that programs that the
// node may start do not speak for it.
#pragma once
#include <cstdint>
#include <string>

namespace catga {

/// One thread.
class Systemd {
 public:
  /// Of the variables that systemd sets.
  Systemd();
  /// `socket`: a path, or an abstract name behind '@'; empty: nobody listens. `watchdog_us`: 0: no watchdog.
  Systemd(std::string socket, std::int64_t watchdog_us)
      : socket_(std::move(socket)), watchdog_us_(watchdog_us) {}

  /// "READY=1", several separated by line ends. Nobody waits for an answer, and none comes.
  void say(const std::string& words) const;
  /// The program is well at this moment: says so when half of the watchdog's time is over. `now_ms`: boot_ms().
  void well(std::int64_t now_ms);
  /// "STATUS=", if the text is another one than before.
  void status(const std::string& text);

 private:
  std::string socket_, status_;
  std::int64_t watchdog_us_ = 0, said_ms_ = 0;
};

}  // namespace catga
