// What a line of the claim log costs: sealed, written and checked.
//
//   perf_claim_log [RECORDS]
#include "runtime/claim_files.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

using namespace astra;

namespace {

double cpu_us() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

pb::ClaimRecord some_record(std::uint64_t number) {
  pb::ClaimRecord record;
  record.set_wall_ms(1'790'000'000'000 + number);
  record.set_epoch(1'790'000'000'000'000'000);
  record.set_action(pb::CLAIM_ACTION_CLAIM);
  record.set_token(number * 0x9e3779b97f4a7c15);
  record.set_replica_index(static_cast<std::uint32_t>(number % 100));
  record.set_node(number * 0xbf58476d1ce4e5b9);
  record.set_node_name("node-" + std::to_string(number % 1000));
  record.set_origin(0x94d049bb133111eb);
  record.set_view_version(number * 3);
  record.set_view_age_ms(number % 700);
  record.set_outcome(pb::CLAIM_CONFIRMED);
  return record;
}

} // namespace

int main(int argc, char** argv) {
  std::uint64_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 200'000;
  auto per_record = [count](double begin) { return (cpu_us() - begin) / static_cast<double>(count); };
  claim_chain chain;
  auto begin = cpu_us();
  for (std::uint64_t i = 0; i < count; ++i) {
    auto record = some_record(i);
    chain.seal(record);
  }
  fmt::print("sealed: {:.2f} us of CPU per record\n", per_record(begin));
  for (std::size_t at_once : {1, 10, 100}) {
    std::string pattern = std::filesystem::temp_directory_path() / "astra-claims-XXXXXX";
    std::filesystem::path directory = ::mkdtemp(pattern.data());
    {
      auto store = open_claim_files(directory, 1ull << 40);
      claim_chain written;
      begin = cpu_us();
      for (std::uint64_t i = 0; i < count; i += at_once) {
        std::vector<pb::ClaimRecord> records(at_once);
        for (auto& record : records) {
          record = some_record(i);
          written.seal(record);
        }
        if (!store->append("app", records))
          return 1;
      }
      fmt::print("sealed and written, {} at once: {:.2f} us of CPU per record\n", at_once, per_record(begin));
    }
    claim_checker checker;
    begin = cpu_us();
    auto problem = check_claim_file(directory / "claims" / "app.log", checker);
    fmt::print("checked: {:.2f} us of CPU per record, {} bytes each{}\n", per_record(begin),
               std::filesystem::file_size(directory / "claims" / "app.log") / count, problem);
    std::filesystem::remove_all(directory);
  }
  return 0;
}
