#include "runtime/claim_files.hpp"

#include "messages/errc.hpp"
#include "messages/type_ids.hpp"
#include "messages/wire.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

namespace astra {
namespace {

/// A longer one is not ours.
constexpr std::uint64_t record_max = 1 << 20;

/// Of so many records the place of one is remembered.
constexpr std::uint64_t index_step = 256;

void put_record(std::string& out, const pb::ClaimRecord& record) {
  auto bytes = encode(record);
  auto length = bytes.size();
  while (length >= 0x80) {
    out += static_cast<char>(length | 0x80);
    length >>= 7;
  }
  out += static_cast<char>(length);
  out += bytes;
}

/// Takes records off the front of bytes.
class record_reader {
public:
  explicit record_reader(std::string_view bytes, std::size_t at = 0) : bytes_(bytes), at_(at) {}

  /// @returns false at the end, and where something is that is no whole record.
  bool next(pb::ClaimRecord& record) {
    std::uint64_t length = 0;
    auto at = at_;
    for (unsigned shift = 0;; shift += 7) {
      if (at == bytes_.size() || shift > 21)
        return false;
      auto byte = static_cast<unsigned char>(bytes_[at++]);
      length |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80)
        break;
    }
    if (length == 0 || length > record_max || length > bytes_.size() - at
        || !decode(record, std::string{bytes_.substr(at, length)}))
      return false;
    at_ = at + length;
    return true;
  }

  /// Behind the last whole record.
  std::size_t at() const { return at_; }
  bool at_end() const { return at_ == bytes_.size(); }

private:
  std::string_view bytes_;
  std::size_t at_;
};

caf::error failure(const std::filesystem::path& path, std::string_view doing, int code) {
  return caf::make_error(errc::io_failed, fmt::format("{}: cannot {}: {}", path.string(), doing, std::strerror(code)));
}

caf::expected<std::string> bytes_of(const std::filesystem::path& path, std::uint64_t from, std::uint64_t to) {
  std::ifstream in{path, std::ios::binary};
  if (!in)
    return failure(path, "read", errno);
  std::string result(std::max(from, to) - from, '\0');
  in.seekg(static_cast<std::streamoff>(from));
  in.read(result.data(), static_cast<std::streamsize>(result.size()));
  result.resize(static_cast<std::size_t>(in.gcount()));
  return result;
}

/// One app's log.  Used by its scheduler and, to read, by the front of the process.
class app_log {
public:
  app_log(std::filesystem::path path, std::uint64_t keep_bytes)
    : path_(std::move(path)), old_path_(path_.string() + ".1"), keep_bytes_(keep_bytes) {}
  ~app_log() {
    if (fd_ >= 0)
      ::close(fd_);
  }
  app_log(const app_log&) = delete;
  app_log& operator=(const app_log&) = delete;

  caf::expected<pb::ClaimRecord> last() {
    std::lock_guard guard{mutex_};
    if (auto error = open())
      return error;
    return last_;
  }

  caf::expected<void> append(const std::vector<pb::ClaimRecord>& records) {
    std::lock_guard guard{mutex_};
    if (auto error = open())
      return error;
    if (records.empty())
      return {};
    if (records.front().number() != last_.number() + 1)
      return caf::make_error(errc::io_failed, fmt::format("{}: ends with record {}, not before {}", path_.string(),
                                                          last_.number(), records.front().number()));
    if (size_ >= keep_bytes_)
      if (auto error = rotate())
        return error;
    if (auto error = put(records))
      return error;
    return {};
  }

  caf::expected<pb::ClaimLogPage> read(std::uint64_t from, std::uint32_t limit) {
    std::lock_guard guard{mutex_};
    if (auto error = open())
      return error;
    pb::ClaimLogPage page;
    page.set_last(last_.number());
    if (from == 0)
      from = last_.number() < limit ? 1 : last_.number() - limit + 1;
    if (from > last_.number())
      return page;
    if (old_.first != 0 && (current_.first == 0 || from < current_.first))
      if (auto error = collect(old_path_, old_, old_size_, from, limit, page))
        return error;
    if (static_cast<std::uint32_t>(page.records_size()) < limit)
      if (auto error = collect(path_, current_, size_, from, limit, page))
        return error;
    return page;
  }

private:
  /// What is known of one file.
  struct file_index {
    /// Number of its first record; 0: it has none.
    std::uint64_t first = 0;
    /// Numbers and places of some records.
    std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
  };

  pb::ClaimRecord anchor() const {
    pb::ClaimRecord result;
    result.set_number(last_.number());
    result.set_hash(last_.hash());
    result.set_reason("goes on from here");
    return result;
  }

  caf::error open() {
    if (fd_ >= 0)
      return {};
    std::error_code error;
    std::filesystem::create_directories(path_.parent_path(), error);
    if (error)
      return failure(path_.parent_path(), "make the directory", error.value());
    last_.Clear();
    if (std::filesystem::exists(old_path_, error)) {
      auto size = scan(old_path_, old_);
      if (!size)
        return std::move(size.error());
      old_size_ = *size;
    }
    auto fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
      return failure(path_, "open", errno);
    auto size = scan(path_, current_);
    if (!size) {
      ::close(fd);
      return std::move(size.error());
    }
    size_ = *size;
    fd_ = fd;
    if (auto there = ::lseek(fd, 0, SEEK_END); there > 0 && static_cast<std::uint64_t>(there) > size_)
      if (auto failed = cut(static_cast<std::uint64_t>(there))) {
        ::close(std::exchange(fd_, -1));
        return failed;
      }
    return {};
  }

  /// Takes off what follows the last whole record up to `end`: the end of a batch that was cut short, or everything
  /// behind a byte that was changed.  It is kept in a file of its own, and a record says so.
  caf::error cut(std::uint64_t end) {
    auto tail = bytes_of(path_, size_, end);
    if (!tail)
      return std::move(tail.error());
    std::filesystem::path aside = fmt::format("{}.cut-{}", path_.string(), last_.number() + 1);
    std::ofstream out{aside, std::ios::binary | std::ios::trunc};
    if (!out.write(tail->data(), static_cast<std::streamsize>(tail->size())).flush())
      return failure(aside, "keep the broken end of the log", errno);
    std::error_code ignored;
    std::filesystem::permissions(aside, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write,
                                 ignored);
    spdlog::warn("scheduler.claim_log_cut file={} bytes={} kept_as={} reason=\"its end is no whole record; the log "
                 "goes on behind "
                 "record {}\"",
                 path_.string(), tail->size(), aside.string(), last_.number());
    if (::ftruncate(fd_, static_cast<off_t>(size_)) != 0)
      return failure(path_, "cut the broken end off", errno);
    pb::ClaimRecord gap;
    gap.set_epoch(last_.epoch());
    gap.set_wall_ms(last_.wall_ms());
    gap.set_reason(fmt::format("what followed is no whole record and missing here: {} bytes, kept as {}", tail->size(),
                               aside.filename().string()));
    claim_chain chain{last_};
    chain.seal(gap);
    return put({gap});
  }

  /// Finds the records of a file.  @returns where its last whole one ends.
  caf::expected<std::uint64_t> scan(const std::filesystem::path& path, file_index& index) {
    index = {};
    std::error_code error;
    auto size = std::filesystem::file_size(path, error);
    if (error)
      return failure(path, "read", error.value());
    auto bytes = bytes_of(path, 0, size);
    if (!bytes)
      return std::move(bytes.error());
    record_reader reader{*bytes};
    pb::ClaimRecord record;
    auto anchored = false;
    for (auto at = reader.at(); reader.next(record); at = reader.at()) {
      if (!std::exchange(anchored, true)) {
        last_ = record;
        continue;
      }
      if (index.first == 0)
        index.first = record.number();
      if (record.number() % index_step == 0)
        index.places.emplace_back(record.number(), at);
      last_ = record;
    }
    return reader.at();
  }

  /// Writes them behind what is there.
  caf::error put(const std::vector<pb::ClaimRecord>& records) {
    std::string bytes;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
    if (size_ == 0)
      put_record(bytes, anchor());
    for (auto& record : records) {
      if (record.number() % index_step == 0)
        places.emplace_back(record.number(), size_ + bytes.size());
      put_record(bytes, record);
    }
    if (auto error = write(bytes))
      return error;
    current_.places.insert(current_.places.end(), places.begin(), places.end());
    if (current_.first == 0)
      current_.first = records.front().number();
    size_ += bytes.size();
    last_ = records.back();
    return {};
  }

  caf::error rotate() {
    if (::rename(path_.c_str(), old_path_.c_str()) != 0)
      return failure(path_, "rename", errno);
    ::close(std::exchange(fd_, -1));
    old_ = std::exchange(current_, {});
    old_size_ = std::exchange(size_, 0);
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return fd_ < 0 ? failure(path_, "open", errno) : caf::error{};
  }

  /// All of it, or nothing.
  caf::error write(const std::string& bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      auto count = ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(size_ + done));
      if (count < 0 && errno == EINTR)
        continue;
      if (count <= 0) {
        auto code = count < 0 ? errno : ENOSPC;
        if (done > 0 && ::ftruncate(fd_, static_cast<off_t>(size_)) != 0)
          ::close(std::exchange(fd_, -1)); // the next one opens it anew and cuts it there
        return failure(path_, "write", code);
      }
      done += static_cast<std::size_t>(count);
    }
    return {};
  }

  static caf::error collect(const std::filesystem::path& path, const file_index& index, std::uint64_t size,
                            std::uint64_t from, std::uint32_t limit, pb::ClaimLogPage& page) {
    std::uint64_t begin = 0;
    for (auto& [number, place] : index.places)
      if (number <= from)
        begin = place;
    auto end = std::find_if(index.places.begin(), index.places.end(),
                            [&](auto& place) { return place.first >= from + limit; });
    auto bytes = bytes_of(path, begin, end == index.places.end() ? size : end->second);
    if (!bytes)
      return std::move(bytes.error());
    record_reader reader{*bytes};
    pb::ClaimRecord record;
    if (begin == 0 && !reader.next(record))
      return {};
    while (static_cast<std::uint32_t>(page.records_size()) < limit && reader.next(record))
      if (record.number() >= from)
        *page.add_records() = record;
    return {};
  }

  const std::filesystem::path path_;
  const std::filesystem::path old_path_;
  const std::uint64_t keep_bytes_;
  std::mutex mutex_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::uint64_t old_size_ = 0;
  file_index current_;
  file_index old_;
  pb::ClaimRecord last_;
};

class claim_files : public claim_store {
public:
  claim_files(std::filesystem::path directory, std::uint64_t keep_bytes)
    : directory_(std::move(directory)), keep_bytes_(keep_bytes) {}

  caf::expected<pb::ClaimRecord> last(const std::string& app) override { return log_of(app)->last(); }

  caf::expected<void> append(const std::string& app, const std::vector<pb::ClaimRecord>& records) override {
    return log_of(app)->append(records);
  }

  caf::expected<pb::ClaimLogPage> read(const std::string& app, std::uint64_t from, std::uint32_t limit) override {
    std::error_code ignored;
    // Anybody may ask for any name.
    if (app.find('/') != std::string::npos || !std::filesystem::exists(directory_ / (app + ".log"), ignored))
      return pb::ClaimLogPage{};
    return log_of(app)->read(from, limit);
  }

  void close(const std::string& app) override {
    std::lock_guard guard{mutex_};
    logs_.erase(app);
  }

private:
  /// Shared: one that is closed may still be in use.
  std::shared_ptr<app_log> log_of(const std::string& app) {
    std::lock_guard guard{mutex_};
    auto& log = logs_[app];
    if (!log)
      log = std::make_shared<app_log>(directory_ / (app + ".log"), keep_bytes_);
    return log;
  }

  const std::filesystem::path directory_;
  const std::uint64_t keep_bytes_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<app_log>> logs_;
};

} // namespace

std::unique_ptr<claim_store> open_claim_files(const std::filesystem::path& state_dir, std::uint64_t keep_bytes) {
  return std::make_unique<claim_files>(state_dir / "claims", keep_bytes);
}

std::string check_claim_file(const std::filesystem::path& path, claim_checker& checker) {
  std::error_code error;
  auto size = std::filesystem::file_size(path, error);
  if (error)
    return "cannot be read: " + error.message();
  auto bytes = bytes_of(path, 0, size);
  if (!bytes)
    return error_text(bytes.error());
  record_reader reader{*bytes};
  pb::ClaimRecord record;
  if (!reader.next(record) || record.action() != pb::CLAIM_ACTION_UNKNOWN || record.epoch() != 0)
    return "is no claim log";
  if (auto problem = checker.anchor(record); !problem.empty())
    return problem;
  while (reader.next(record))
    if (auto problem = checker.next(record); !problem.empty())
      return problem;
  if (!reader.at_end())
    return fmt::format("what follows record {} is no whole record ({} bytes)", checker.last(), size - reader.at());
  return {};
}

} // namespace astra
