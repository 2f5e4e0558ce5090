// Drives a fuzz target without libFuzzer: runs a corpus, then mutations of it that are the same at
// every run. `replay [--mutations N] [--seed S] FILE-OR-FOLDER…`
//
// This is the ordinary test: it needs no clang and takes a second. It knows nothing of coverage, so
// it finds what lies close to the corpus; the search is tests/fuzz/run's.
#include "target.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" void __sanitizer_set_death_callback(void (*)()) __attribute__((weak));

namespace {

using Random = std::mt19937_64;

// What is being tried, for the handler of a signal, which gets nothing handed in.
std::string_view input_now;

/// Leaves the input behind in the current folder.
void keep_input() {
  constexpr const char* name = "crash-replay";
  if (std::FILE* file = std::fopen(name, "wb")) {
    std::fwrite(input_now.data(), 1, input_now.size(), file);
    std::fclose(file);
  }
  std::fprintf(stderr, "the input (%zu bytes) is in %s; add it to the corpus with the fix\n",
               input_now.size(), name);
}

void died(int signal) {
  std::signal(signal, SIG_DFL);
  keep_input();
  std::raise(signal);
}

void run(std::string_view input) {
  input_now = input;
  // A copy of its own, so that a sanitizer sees a read behind the end.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

std::vector<std::string> corpus_of(const std::vector<std::string>& places) {
  std::vector<std::filesystem::path> files;
  for (const std::string& place : places) {
    if (!std::filesystem::is_directory(place)) {
      files.emplace_back(place);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(place))
      if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::vector<std::string> corpus;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    if (!in) {
      std::fprintf(stderr, "cannot read %s\n", file.c_str());
      std::exit(2);
    }
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return corpus;
}

/// One small harm: bytes changed, cut, doubled, moved, taken from a friend, or a length made a lie.
void mutate(std::string& bytes, const std::string& other, Random& random) {
  const auto below = [&random](std::size_t end) { return end == 0 ? 0 : random() % end; };
  const std::size_t at = below(bytes.size() + 1);
  switch (random() % 8) {
    case 0:
      if (at < bytes.size()) bytes[at] = static_cast<char>(random());
      return;
    case 1:
      if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      return;
    case 2:
      return bytes.resize(at);
    case 3:
      bytes.erase(at, random() % 8);
      return;
    case 4:
      bytes.insert(at, std::string(1 + random() % 8, static_cast<char>(random())));
      return;
    case 5: {
      const std::size_t from = below(other.size() + 1);
      bytes.insert(at, other.substr(from, random() % 64));
      return;
    }
    case 6: {
      const std::size_t from = below(bytes.size() + 1);
      bytes.insert(at, bytes.substr(from, random() % 64));
      return;
    }
    default: {
      static constexpr std::array<std::uint64_t, 8> lies{
          0, 1, 0x7f, 0x80, 0xff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff};
      const std::uint64_t lie = lies[random() % lies.size()];
      const std::size_t width = std::size_t{1} << random() % 4;
      for (std::size_t i = 0; i < width && at + i < bytes.size(); ++i)
        bytes[at + i] = static_cast<char>(lie >> (8 * i));
      return;
    }
  }
}

struct Wish {
  std::uint64_t mutations = 0, seed = 1;
  std::vector<std::string> places;
};

Wish wish_of(const std::vector<std::string>& words) {
  Wish wish;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool number = words[i] == "--mutations" || words[i] == "--seed";
    if (!number) {
      wish.places.push_back(words[i]);
    } else if (i + 1 < words.size()) {
      (words[i] == "--seed" ? wish.seed : wish.mutations) = std::stoull(words[i + 1]);
      ++i;
    }
  }
  return wish;
}

}  // namespace

int main(int argc, char** argv) {
  const Wish wish = wish_of({argv + 1, argv + argc});
  const std::vector<std::string> corpus = corpus_of(wish.places);
  if (corpus.empty()) {
    std::fprintf(stderr, "usage: replay [--mutations N] [--seed S] FILE-OR-FOLDER...\n");
    return 2;
  }
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(keep_input);
    std::signal(SIGABRT, died);
  } else {
    for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, died);
  }
  std::printf("%zu inputs, then %llu mutations of them, seed %llu\n", corpus.size(),
              static_cast<unsigned long long>(wish.mutations),
              static_cast<unsigned long long>(wish.seed));
  std::fflush(stdout);
  for (const std::string& input : corpus) run(input);
  Random random(wish.seed);
  for (std::uint64_t round = 0; round < wish.mutations; ++round) {
    std::string input = corpus[random() % corpus.size()];
    for (std::uint64_t harm = 1 + random() % 4; harm > 0; --harm)
      mutate(input, corpus[random() % corpus.size()], random);
    run(input);
  }
  return 0;
}
