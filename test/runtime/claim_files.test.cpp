#include "runtime/claim_files.hpp"

#include <doctest/doctest.h>

#include <csignal>
#include <fstream>
#include <stdlib.h>
#include <string>
#include <sys/resource.h>

using namespace astra;

namespace {

class fixture {
public:
  fixture() {
    std::string pattern = std::filesystem::temp_directory_path() / "astra-claims-XXXXXX";
    directory = ::mkdtemp(pattern.data());
  }
  ~fixture() { std::filesystem::remove_all(directory); }

  std::filesystem::path file() const { return directory / "claims" / "ocr.log"; }

  /// Appends so many records, ten at a time.
  void write(claim_store& store, int count) {
    auto last = store.last("ocr");
    REQUIRE(last);
    claim_chain chain{*last};
    for (int i = 0; i < count; i += 10) {
      std::vector<pb::ClaimRecord> records(10);
      for (auto& record : records) {
        record.set_action(pb::CLAIM_ACTION_CLAIM);
        record.set_epoch(7);
        record.set_token(chain.number() + 1000);
        record.set_reason("needs 4 cores, 1.5 free");
        chain.seal(record);
      }
      REQUIRE(store.append("ocr", records));
    }
  }

  std::string check(claim_checker& checker) {
    for (auto& path : {file().string() + ".1", file().string()})
      if (std::filesystem::exists(path))
        if (auto problem = check_claim_file(path, checker); !problem.empty())
          return problem;
    return {};
  }

  std::filesystem::path directory;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "a log goes on where the process before left it, and its files pass the check") {
  write(*open_claim_files(directory, 1 << 20), 40);
  write(*open_claim_files(directory, 1 << 20), 20);
  claim_checker checker;
  CHECK(check(checker) == "");
  CHECK(checker.count() == 60);
  CHECK(checker.first() == 1);
  CHECK_FALSE(std::filesystem::exists(file().string() + ".1"));
}

TEST_CASE_FIXTURE(fixture, "rotation keeps what it must, and the chain goes on across the files") {
  auto store = open_claim_files(directory, 32768);
  write(*store, 3000);
  auto sizes = std::filesystem::file_size(file()) + std::filesystem::file_size(file().string() + ".1");
  CHECK(sizes >= 32768);
  CHECK(sizes <= 2 * 32768 + 4096);
  for (auto again = 0; again < 2; ++again) {
    claim_checker checker;
    CHECK(check(checker) == "");
    CHECK(checker.last() == 3000);
    CHECK(checker.first() > 1);
    auto page = store->read("ocr", 0, 5);
    REQUIRE(page);
    CHECK(page->last() == 3000);
    REQUIRE(page->records_size() == 5);
    CHECK(page->records(0).number() == 2996);
    CHECK(page->records(4).hash() == checker.hash());
    page = store->read("ocr", checker.first() + 10, 700);
    REQUIRE(page);
    REQUIRE(page->records_size() == static_cast<int>(std::min<std::uint64_t>(700, 3000 - checker.first() - 9)));
    for (int i = 0; i < page->records_size(); ++i)
      CHECK(page->records(i).number() == checker.first() + 10 + static_cast<std::uint64_t>(i));
    page = store->read("ocr", 1, 3);
    REQUIRE(page);
    CHECK(page->records(0).number() == checker.first());
    // The same from a process that has not written it.
    store = open_claim_files(directory, 32768);
  }
  CHECK(store->read("../../etc/passwd", 0, 5)->records().empty());
  CHECK(store->read("echo", 0, 5)->records().empty());
}

TEST_CASE_FIXTURE(fixture, "a page behind the end of a log is empty, however far behind it begins") {
  auto store = open_claim_files(directory, 1 << 20);
  write(*store, 600);
  for (auto from : {std::uint64_t{601}, ~std::uint64_t{0} - 1, ~std::uint64_t{0}}) {
    auto page = store->read("ocr", from, 1);
    REQUIRE(page);
    CHECK(page->last() == 600);
    CHECK(page->records().empty());
  }
  CHECK(store->read("ocr", 600, 1)->records_size() == 1);
}

TEST_CASE_FIXTURE(fixture, "a file that was cut anywhere loses what was cut and goes on") {
  write(*open_claim_files(directory, 1 << 20), 30);
  auto size = std::filesystem::file_size(file());
  for (auto cut : {1, 7, 60, 150}) {
    std::filesystem::resize_file(file(), size - static_cast<std::uint64_t>(cut));
    write(*open_claim_files(directory, 1 << 20), 10);
    claim_checker checker;
    CHECK(check(checker) == "");
    CHECK(checker.count() >= 30);
    size = std::filesystem::file_size(file());
  }
  // What a loss of power leaves.
  std::ofstream{file(), std::ios::app | std::ios::binary} << std::string(500, '\0');
  claim_checker torn;
  CHECK(check(torn).find("is no whole record") != std::string::npos);
  write(*open_claim_files(directory, 1 << 20), 10);
  claim_checker checker;
  CHECK(check(checker) == "");
  std::filesystem::resize_file(file(), 3);
  write(*open_claim_files(directory, 1 << 20), 10);
  claim_checker anew;
  CHECK(check(anew) == "");
  CHECK(anew.count() == 11);
}

TEST_CASE_FIXTURE(fixture, "what follows a damaged byte is kept aside, and the log says that it is missing") {
  write(*open_claim_files(directory, 1 << 20), 30);
  std::ifstream in{file(), std::ios::binary};
  std::string text{std::istreambuf_iterator<char>{in}, {}};
  // Lengths take one byte: the anchor and nine records are left alone.
  std::size_t at = 0;
  for (int i = 0; i < 10; ++i)
    at += 1 + static_cast<unsigned char>(text[at]);
  text[at] = '\0';
  std::ofstream{file(), std::ios::binary} << text;
  auto store = open_claim_files(directory, 1 << 20);
  auto page = store->read("ocr", 0, 1);
  REQUIRE(page);
  CHECK(page->last() == 10);
  CHECK(page->records(0).action() == pb::CLAIM_ACTION_UNKNOWN);
  CHECK(page->records(0).reason().find("kept as ocr.log.cut-10") != std::string::npos);
  std::ifstream kept{file().string() + ".cut-10", std::ios::binary};
  CHECK(std::string{std::istreambuf_iterator<char>{kept}, {}} == text.substr(at));
  write(*store, 10);
  claim_checker checker;
  CHECK(check(checker) == "");
  CHECK(checker.last() == 20);
  CHECK(checker.gaps() == 1);
}

TEST_CASE_FIXTURE(fixture, "a closed log holds no file open, and goes on when it is needed again") {
  auto open_files = [] {
    std::filesystem::directory_iterator all{"/proc/self/fd"};
    return std::distance(begin(all), end(all));
  };
  auto store = open_claim_files(directory, 1 << 20);
  auto before = open_files();
  write(*store, 30);
  CHECK(open_files() == before + 1);
  store->close("ocr");
  CHECK(open_files() == before);
  write(*store, 10);
  claim_checker checker;
  CHECK(check(checker) == "");
  CHECK(checker.count() == 40);
}

TEST_CASE_FIXTURE(fixture, "a byte that was changed is found, with the number of its record") {
  write(*open_claim_files(directory, 1 << 20), 30);
  std::fstream out{file(), std::ios::in | std::ios::out | std::ios::binary};
  std::string text{std::istreambuf_iterator<char>{out}, {}};
  std::size_t at = 0;
  for (int i = 0; i < 12; ++i)
    at = text.find("1.5 free", at + 1);
  out.clear();
  out.seekp(static_cast<std::streamoff>(at));
  out << "9";
  out.close();
  claim_checker checker;
  CHECK(check(checker).find("record 12 has been changed") == 0);
}

TEST_CASE_FIXTURE(fixture, "a disk without room leaves whole records, and the log goes on when there is room") {
  auto store = open_claim_files(directory, 1 << 20);
  write(*store, 30);
  auto size = std::filesystem::file_size(file());
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit tight{size + 100, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &tight);
  claim_chain chain{*store->last("ocr")};
  std::vector<pb::ClaimRecord> records(10);
  for (auto& record : records)
    chain.seal(record);
  auto written = store->append("ocr", records);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK_FALSE(written);
  CHECK(std::filesystem::file_size(file()) == size);
  write(*store, 10);
  claim_checker checker;
  CHECK(check(checker) == "");
  CHECK(checker.count() == 40);
}
