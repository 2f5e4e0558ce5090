// Every setting there is, as a list for people and programs: the table behind flags, variables, files and --help.
#pragma once
#include "catga/runtime/config.hpp"

#include <string>
#include <vector>

namespace catga {

struct SettingLine {
  std::string key;       ///< "nats.urls"
  std::string variable;  ///< "CATGA_NATS_URLS"
  std::string flag;      ///< "--nats-urls"; empty: it has none, as ps shows flags to everyone
  std::string unit;      ///< what stands for the value in --help
  std::string value;     ///< as `config` has it; secrets masked
  std::string
      source;  ///< "default", "flag --nats-urls", "env CATGA_NATS_URLS", "file /etc/catga/catga.json"
  std::string standard;  ///< the default; empty: none
  std::string help;
  bool secret = false;
};

/// In the order of --help. A setting that was changed in the program has the source "program".
std::vector<SettingLine> settings_of(const Config& config);

}  // namespace catga
