#include "p2p/store.hpp"

#include "config/units.hpp"
#include "p2p/merkle.hpp"
#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace astra::p2p {
namespace {

namespace fs = std::filesystem;
using time_point = store::time_point;

constexpr const char* torrent_file = "content.torrent";
constexpr const char* record_file = "record";
constexpr const char* resume_file = "resume";
constexpr const char* blocks_file = "blocks";
constexpr const char* notes_file = "notes";
constexpr std::string_view record_head = "astra-content 1";
constexpr std::string_view resume_head = "astra-resume 1";
constexpr std::string_view blocks_head = "astra-blocks 1";
/// Instead of blocks_head: nothing was there before them.
constexpr std::string_view all_blocks_head = "astra-all-blocks 1";
constexpr std::size_t reason_bytes_max = 4096;
/// All pieces bad, each with a comma and up to seven digits: a record that is written can be read again.
constexpr std::uint64_t record_bytes_max = 8ULL * pieces_max + 64 * 1024;
constexpr std::uint64_t resume_bytes_max = torrent_bytes_max;
constexpr std::uint64_t blocks_bytes_max = 256ULL << 20U;
/// Between two looks at whether a copy is still wanted.
constexpr std::uint64_t copy_step = 64ULL << 20U;
constexpr std::size_t notes_bytes_max = 64 * 1024 * 1024;
/// How far the last use on disk may lag behind.
constexpr std::chrono::seconds last_use_lag{60};

problem absent(const content_address& address) {
  return {fault::missing, fmt::format("content {} is not in the store", to_string(address))};
}

done make_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error)
    return io_problem(directory, "created", error.value());
  return nothing{};
}

std::optional<content_state> parse_state(std::string_view text) {
  for (auto state : {content_state::fetching, content_state::verifying, content_state::ready, content_state::condemned})
    if (text == to_string(state))
      return state;
  return std::nullopt;
}

template <class T>
bool parse_number(std::string_view text, T& value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

/// Files with the same key are the same: their roots cover their bytes, and a link has one mode.
digest key_of(const content_file& file) {
  auto result = file.root;
  if (file.executable)
    result.front() ^= std::remove_reference_t<decltype(result.front())>{1};
  return result;
}

std::string checksum(std::string_view text) {
  return to_string(content_address{sha256{}(std::as_bytes(std::span{text}))});
}

/// One line, and not a long one: a reason may hold the name of a file.
std::string single_line(std::string text) {
  if (text.size() > reason_bytes_max) {
    auto end = reason_bytes_max;
    // Not within a character.
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80)
      --end;
    text.resize(end);
  }
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20; }, ' ');
  return text;
}

done copy_file(const fs::path& from, const fs::path& to, std::uint64_t size, const std::stop_token& stop) {
  file_handle in{::open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!in)
    return io_problem(from, "read", errno);
  file_handle out{::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644)};
  if (!out)
    return io_problem(to, "written", errno);
  // Shares the blocks where the file system can.
  for (std::uint64_t left = size; left > 0;) {
    if (stop.stop_requested())
      return problem{fault::cancelled, "copying was cancelled"};
    auto count = ::copy_file_range(in.get(), nullptr, out.get(), nullptr, std::min(left, copy_step), 0);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
      std::vector<std::byte> buffer(std::min<std::uint64_t>(left, 1 << 20U));
      auto got = read_fully(in.get(), buffer);
      if (got < 0)
        return io_problem(from, "read", errno);
      for (std::int64_t at = 0; at < got;) {
        auto put = ::write(out.get(), buffer.data() + at, static_cast<std::size_t>(got - at));
        if (put < 0 && errno != EINTR)
          return io_problem(to, "written", errno);
        at += std::max<::ssize_t>(put, 0);
      }
      count = got;
    }
    if (count < 0)
      return io_problem(to, "written", errno);
    if (count == 0)
      return problem{fault::changed, fmt::format("{} became shorter while it was copied", from.string())};
    left -= static_cast<std::uint64_t>(count);
  }
  return nothing{};
}

struct measured {
  std::uint64_t length = 0;
  /// Less where files have holes.
  std::uint64_t taken = 0;
};

/// The files of a content, whose torrent need not be good: all in the directories beside it.
measured measure(const fs::path& place) {
  measured result;
  std::error_code error;
  for (fs::recursive_directory_iterator i{place, error}; !error && i != fs::recursive_directory_iterator{};
       i.increment(error)) {
    struct ::stat status {};
    if (i.depth() == 0 || ::lstat(i->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode))
      continue;
    result.length += static_cast<std::uint64_t>(status.st_size);
    result.taken += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return result;
}

done remove_file(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return io_problem(path, "removed", errno);
  return nothing{};
}

/// "PIECE FIRST COUNT", each a number.
std::optional<block_run> parse_run(std::string_view line) {
  block_run result;
  for (auto* number : {&result.piece, &result.first, &result.count}) {
    auto word = line.substr(0, line.find(' '));
    if (!parse_number(word, *number))
      return std::nullopt;
    line.remove_prefix(std::min(word.size() + 1, line.size()));
  }
  return line.empty() ? std::optional{result} : std::nullopt;
}

/// Whether anything has that name, a link to nothing included.
bool is_there(const fs::path& path) {
  struct ::stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

} // namespace

std::string_view to_string(content_state state) {
  switch (state) {
  case content_state::absent:
    return "absent";
  case content_state::fetching:
    return "fetching";
  case content_state::verifying:
    return "verifying";
  case content_state::ready:
    return "ready";
  case content_state::condemned:
    return "condemned";
  }
  return "";
}

void content_store::hold(const content_address& address) {
  ++holds_[address];
}

void content_store::release(const content_address& address) {
  auto held = holds_.find(address);
  assert(held != holds_.end());
  if (--held->second == 0)
    holds_.erase(held);
}

std::optional<problem> content_store::kept_because(const content_address& address, bool pinned) const {
  if (!pinned && !holds_.contains(address))
    return std::nullopt;
  return problem{fault::busy, fmt::format("content {} is {}", to_string(address), pinned ? "pinned" : "in use")};
}

outcome<std::vector<content_address>>
content_store::make_room(std::uint64_t bytes, const std::set<content_address>& last_copies, time_point used_since) {
  std::vector<content_address> evicted;
  auto cap = bytes_max();
  if (cap == 0)
    return evicted;
  std::vector<cached_content> contents;
  for (auto& what : list()) {
    auto busy = holds_.contains(what.address) || what.state == content_state::fetching
                || what.state == content_state::verifying;
    contents.push_back({what.address, what.size, what.last_use, what.state == content_state::condemned, what.pinned,
                        busy, last_copies.contains(what.address)});
  }
  auto plan = plan_eviction(std::move(contents), cap, bytes, used_since);
  if (plan.missing_bytes > 0)
    return problem{
        fault::no_space,
        fmt::format("{} is wanted in store {}, and {} of it cannot be had: what is left is pinned, in use or "
                    "the last copy",
                    human_bytes(bytes), where(), human_bytes(plan.missing_bytes))};
  for (auto& address : plan.evict) {
    if (auto gone = evict(address); !gone)
      return gone.problem();
    evicted.push_back(address);
  }
  return evicted;
}

outcome<std::unique_ptr<store>> store::open(options what) {
  std::unique_ptr<store> result{new store{std::move(what)}};
  if (auto prepared = result->prepare(); !prepared)
    return prepared.problem();
  if (auto scanned = result->scan(); !scanned)
    return scanned.problem();
  return result;
}

done store::prepare() {
  if (auto made = make_directory(options_.directory); !made)
    return made;
  auto path = options_.directory / "lock";
  lock_ = file_handle{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)};
  if (!lock_)
    return io_problem(path, "opened", errno);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    auto error = errno;
    if (error != EWOULDBLOCK)
      return io_problem(path, "locked", error);
    auto owner = read_file(path, 32);
    return problem{fault::busy,
                   fmt::format("the store {} is in use by process {}; a store belongs to one process at a time",
                               options_.directory.string(),
                               owner && !owner->empty() ? std::string{owner->begin(), owner->end()} : "?")};
  }
  auto me = std::to_string(::getpid());
  if (::ftruncate(lock_.get(), 0) != 0
      || ::pwrite(lock_.get(), me.data(), me.size(), 0) != static_cast<::ssize_t>(me.size()))
    return io_problem(path, "written", errno);
  for (auto* name : {"data", "contents", "trash"})
    if (auto made = make_directory(options_.directory / name); !made)
      return made;
  std::error_code error;
  for (fs::directory_iterator i{options_.directory / "trash", error}; !error && i != fs::directory_iterator{};
       i.increment(error)) {
    std::error_code ignored;
    fs::remove_all(i->path(), ignored);
  }
  return nothing{};
}

done store::scan() {
  std::error_code error;
  auto data = options_.directory / "data";
  for (fs::directory_iterator i{data, error}; !error && i != fs::directory_iterator{}; i.increment(error)) {
    auto address = parse_address(i->path().filename().string());
    if (!address)
      continue;
    record what;
    auto text = read_file(i->path() / record_file, record_bytes_max);
    // Damaged or not there: nothing is known of the files.
    if (!text || !decode({text->data(), text->size()}, what))
      what = {};
    what.last_use_written = what.last_use;
    auto known = records_.emplace(*address, what).first;
    auto described = manifest(*address);
    if (!described) {
      known->second.state = content_state::condemned;
      known->second.reason = described.problem().text;
      if (known->second.size == 0)
        known->second.size = measure(i->path()).length;
      continue;
    }
    known->second.size = described->size;
    known->second.pieces = static_cast<std::uint32_t>(described->piece_hashes.size());
    if (known->second.state == content_state::ready)
      if (auto shown = show(*address, *described); !shown)
        return shown;
  }
  if (error)
    return io_problem(data, "read", error.value());
  // A crash may have come between hiding a content and whatever was to follow.
  auto links = options_.directory / "contents";
  for (fs::directory_iterator i{links, error}; !error && i != fs::directory_iterator{}; i.increment(error)) {
    auto address = parse_address(i->path().filename().string());
    if (address && state(*address) == content_state::ready)
      continue;
    if (::unlink(i->path().c_str()) != 0)
      return io_problem(i->path(), "removed", errno);
  }
  if (error)
    return io_problem(links, "read", error.value());
  return nothing{};
}

content_state store::state(const content_address& address) const {
  auto* what = find(address);
  return what ? what->state : content_state::absent;
}

std::vector<stored_content> store::list() const {
  std::vector<stored_content> result;
  for (auto& [address, what] : records_)
    result.push_back({address, what.state, what.size, what.last_use, what.pinned, what.reason});
  return result;
}

std::uint64_t store::bytes() const {
  std::uint64_t result = 0;
  for (auto& [address, what] : records_)
    result += what.size;
  return result;
}

/// What contents that are being fetched will still take of the disk.
std::uint64_t store::unwritten() const {
  std::uint64_t result = 0;
  for (auto& [address, what] : records_)
    if (what.state == content_state::fetching)
      if (auto taken = measure(place(address)).taken; taken < what.size)
        result += what.size - taken;
  return result;
}

outcome<content> store::manifest(const content_address& address) const {
  if (!find(address))
    return absent(address);
  auto path = place(address) / torrent_file;
  auto bytes = read_file(path, torrent_bytes_max);
  if (!bytes)
    return bytes.problem();
  auto result = read_content(*bytes);
  if (!result)
    return problem{fault::unfit, fmt::format("{} {}", path.string(), result.problem().text)};
  if (result->address != address)
    return problem{fault::unfit, fmt::format("{} is the torrent of another content", path.string())};
  return result;
}

fs::path store::place(const content_address& address) const {
  return options_.directory / "data" / to_string(address);
}

fs::path store::visible(const content_address& address) const {
  return options_.directory / "contents" / to_string(address);
}

fs::path store::trash(const content_address& address) const {
  return options_.directory / "trash" / to_string(address);
}

done store::fetch(const content& what, time_point now) {
  auto* known = find(what.address);
  if (known && known->state == content_state::ready)
    return problem{fault::busy, fmt::format("content {} is ready", to_string(what.address))};
  if (known && known->state != content_state::fetching) {
    // Its torrent may be what is damaged.
    std::string_view torrent{what.torrent.data(), what.torrent.size()};
    if (auto written = write_atomically(place(what.address) / torrent_file, torrent); !written)
      return written;
    if (auto prepared = prepare_repair(what); !prepared)
      return prepared;
    // They may say that bad pieces are there.
    for (auto* said : {resume_file, blocks_file})
      if (auto removed = remove_file(place(what.address) / said); !removed)
        return removed;
    auto changed = *known;
    changed.state = content_state::fetching;
    changed.last_use = now;
    changed.reason.clear();
    changed.size = what.size;
    changed.pieces = static_cast<std::uint32_t>(what.piece_hashes.size());
    if (auto written = write(what.address, changed); !written)
      return written;
    *known = changed;
    return nothing{};
  }
  // A process that was killed just before it was ready left files that cannot be written.
  if (known)
    return prepare_repair(what);
  auto shared = shared_bytes(what);
  if (options_.bytes_max > 0 && bytes() + what.size - shared > options_.bytes_max)
    return problem{fault::no_space,
                   fmt::format("content {} has {}, and of the {} of store {} {} are taken", to_string(what.address),
                               human_bytes(what.size), human_bytes(options_.bytes_max), options_.directory.string(),
                               human_bytes(bytes()))};
  struct ::statvfs disk {};
  if (::statvfs(options_.directory.c_str(), &disk) != 0)
    return io_problem(options_.directory, "read", errno);
  auto free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  if (auto promised = unwritten(); free < promised + what.size - shared + what.torrent.size())
    return problem{fault::no_space,
                   fmt::format("content {} has {}, and {} are free on the disk of {}, {} of them for contents "
                               "that are being fetched",
                               to_string(what.address), human_bytes(what.size), human_bytes(free),
                               options_.directory.string(), human_bytes(promised))};
  auto building = trash(what.address);
  auto fail = [&](problem why) -> done {
    std::error_code ignored;
    fs::remove_all(building, ignored);
    return why;
  };
  std::error_code ignored;
  fs::remove_all(building, ignored);
  record fresh;
  fresh.state = content_state::fetching;
  fresh.last_use = fresh.last_use_written = now;
  fresh.size = what.size;
  fresh.pieces = static_cast<std::uint32_t>(what.piece_hashes.size());
  if (auto made = make_directory(building / what.name); !made)
    return fail(made.problem());
  if (auto written = write_atomically(building / torrent_file, {what.torrent.data(), what.torrent.size()}); !written)
    return fail(written.problem());
  share_files(what, building / what.name, fresh);
  // Of what is shared the record speaks.
  if (auto head = fmt::format("{} {}\n", all_blocks_head, options_.boot); !fresh.bad_known)
    if (auto written = write_atomically(building / blocks_file, head); !written)
      return fail(written.problem());
  if (auto written = write_atomically(building / record_file, encode(fresh)); !written)
    return fail(written.problem());
  // An engine that was still writing when the content was removed may have made it anew.
  fs::remove_all(place(what.address), ignored);
  if (::rename(building.c_str(), place(what.address).c_str()) != 0)
    return fail(io_problem(place(what.address), "created", errno));
  records_.emplace(what.address, fresh);
  return sync_directory(options_.directory / "data");
}

/// Where the files of all contents are that are ready.
std::map<digest, fs::path> store::known_files() const {
  std::map<digest, fs::path> known;
  for (auto& [address, other] : records_) {
    if (other.state != content_state::ready)
      continue;
    auto made_of = manifest(address);
    if (!made_of)
      continue;
    for (auto& file : made_of->files)
      if (file.size > 0)
        known.emplace(key_of(file), place(address) / made_of->name / file.path);
  }
  return known;
}

std::uint64_t store::shared_bytes(const content& what) const {
  auto known = known_files();
  std::uint64_t result = 0;
  for (auto& file : what.files)
    result += known.contains(key_of(file)) ? file.size : 0;
  return result;
}

/// Files that another content has as well, such as a former version, are linked: they take no room, and nobody sends
/// them.  What cannot be linked is fetched.
void store::share_files(const content& what, const fs::path& root, record& fresh) const {
  auto known = known_files();
  std::vector<bool> there(what.piece_hashes.size());
  auto any = false;
  for (auto& file : what.files) {
    auto same = file.size == 0 ? known.end() : known.find(key_of(file));
    if (same == known.end())
      continue;
    auto to = root / file.path;
    if (!make_directory(to.parent_path()) || ::link(same->second.c_str(), to.c_str()) != 0)
      continue;
    any = true;
    std::fill_n(there.begin() + file.first_piece, file.pieces, true);
  }
  if (!any)
    return;
  fresh.bad_known = true;
  fresh.bad_boot = options_.boot;
  for (std::uint32_t piece = 0; piece < there.size(); ++piece)
    if (!there[piece])
      fresh.bad.push_back(piece);
}

std::vector<bool> store::good_pieces(const content_address& address) const {
  auto* what = find(address);
  if (!what || options_.boot.empty())
    return {};
  if (!what->bad_known && what->state == content_state::fetching && read_blocks(address).all)
    return std::vector<bool>(what->pieces, false);
  if (!what->bad_known || what->bad_boot != options_.boot)
    return {};
  std::vector<bool> result(what->pieces, true);
  for (auto piece : what->bad)
    if (piece < result.size())
      result[piece] = false;
  return result;
}

done store::save_resume(const content_address& address, std::span<const char> data) {
  if (!find(address))
    return absent(address);
  auto text = fmt::format("{} {}\n{}", resume_head, options_.boot, std::string_view{data.data(), data.size()});
  if (auto written = write_atomically(place(address) / resume_file, checksum(text) + "\n" + text); !written)
    return written;
  return remove_file(place(address) / blocks_file);
}

std::vector<char> store::resume(const content_address& address) const {
  auto file = read_file(place(address) / resume_file, resume_bytes_max);
  if (!file || options_.boot.empty())
    return {};
  std::string_view text{file->data(), file->size()};
  auto sum = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(sum.size() + 1, text.size()));
  auto head = fmt::format("{} {}\n", resume_head, options_.boot);
  if (!text.starts_with(head) || checksum(text) != sum)
    return {};
  text.remove_prefix(head.size());
  return {text.begin(), text.end()};
}

done store::note_blocks(const content_address& address, std::span<const block_run> blocks) {
  if (!find(address))
    return absent(address);
  // Nobody would believe them.
  if (options_.boot.empty() || blocks.empty())
    return nothing{};
  auto path = place(address) / blocks_file;
  file_handle file{::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644)};
  struct ::stat status {};
  if (!file || ::fstat(file.get(), &status) != 0)
    return io_problem(path, "written", errno);
  std::string text;
  if (status.st_size == 0)
    text = fmt::format("{} {}\n", blocks_head, options_.boot);
  // A line that is cut off spoils no other, and if it can be read it names fewer blocks.
  for (auto& run : blocks)
    text += fmt::format("\n{} {} {}", run.piece, run.first, run.count);
  if (auto put = ::write(file.get(), text.data(), text.size()); put != static_cast<::ssize_t>(text.size()))
    return io_problem(path, "written", put < 0 ? errno : ENOSPC);
  return nothing{};
}

std::vector<block_run> store::noted_blocks(const content_address& address) const {
  auto result = read_blocks(address).blocks;
  auto what = result.empty() ? outcome<content>{absent(address)} : manifest(address);
  if (!what)
    return {};
  // An engine that is to verify what lies behind the end of a file stands still.
  std::vector<std::uint64_t> lengths;
  for (auto& file : what->files) {
    struct ::stat status {};
    auto path = place(address) / what->name / file.path;
    auto there = ::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
    lengths.push_back(there ? static_cast<std::uint64_t>(status.st_size) : 0);
  }
  std::erase_if(result, [&](const block_run& run) {
    if (run.piece >= what->piece_hashes.size())
      return true;
    auto& file = file_of(*what, run.piece);
    auto end = std::uint64_t{run.piece - file.first_piece} * what->piece_size
               + (std::uint64_t{run.first} + run.count) * block_size;
    return lengths[static_cast<std::size_t>(&file - what->files.data())] < std::min(end, file.size);
  });
  return result;
}

/// What was noted in this start of the machine.
store::noted store::read_blocks(const content_address& address) const {
  noted result;
  auto file = read_file(place(address) / blocks_file, blocks_bytes_max);
  if (!file || options_.boot.empty())
    return result;
  std::string_view text{file->data(), file->size()};
  auto head = text.substr(0, text.find('\n'));
  result.all = head == fmt::format("{} {}", all_blocks_head, options_.boot);
  if (!result.all && head != fmt::format("{} {}", blocks_head, options_.boot))
    return result;
  for (text.remove_prefix(head.size()); !text.empty();) {
    text.remove_prefix(1);
    auto line = text.substr(0, text.find('\n'));
    if (auto run = parse_run(line))
      result.blocks.push_back(*run);
    text.remove_prefix(line.size());
  }
  return result;
}

outcome<content> store::make(const std::filesystem::path& root, const work_control& control) const {
  return make_content(root, control);
}

done store::save_notes(std::string_view notes) {
  return write_atomically(options_.directory / notes_file, checksum(notes) + "\n" + std::string{notes});
}

std::string store::notes() const {
  auto file = read_file(options_.directory / notes_file, notes_bytes_max);
  if (!file)
    return {};
  std::string_view text{file->data(), file->size()};
  auto sum = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(sum.size() + 1, text.size()));
  return checksum(text) == sum ? std::string{text} : std::string{};
}

done store::make_ready(const content_address& address, time_point now) {
  auto* known = find(address);
  if (!known)
    return absent(address);
  if (known->state == content_state::ready)
    return nothing{};
  if (known->state == content_state::condemned)
    return problem{fault::busy, fmt::format("content {} is condemned: {}", to_string(address), known->reason)};
  if (known->state == content_state::verifying)
    return problem{fault::busy, fmt::format("content {} has to be verified", to_string(address))};
  return finish(address, now);
}

/// @pre all pieces are there and good.
done store::finish(const content_address& address, time_point now) {
  auto* known = find(address);
  auto what = manifest(address);
  if (!what)
    return what.problem();
  auto root = place(address) / what->name;
  std::set<fs::path> directories{root};
  for (auto& file : what->files) {
    auto path = root / file.path;
    if (auto other = obstacle(root, file.path); !other.empty())
      return problem{fault::unfit, fmt::format("{} should be a directory and is none", other.string())};
    for (auto parent = path.parent_path(); parent != root; parent = parent.parent_path())
      directories.insert(parent);
    // An empty file has no piece, so nobody fetches it.
    if (file.size == 0 && !is_there(path)) {
      if (auto made = make_directory(path.parent_path()); !made)
        return made;
      if (!file_handle{::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)})
        return io_problem(path, "created", errno);
    }
    struct ::stat status {};
    if (::lstat(path.c_str(), &status) != 0)
      return io_problem(path, "read", errno);
    if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != file.size)
      return problem{fault::unfit, fmt::format("{} should have {} bytes and has {}", path.string(), file.size,
                                               S_ISREG(status.st_mode) ? status.st_size : 0)};
    if (auto synced = sync_file(path); !synced)
      return synced;
  }
  for (auto& directory : directories)
    if (auto synced = sync_directory(directory); !synced)
      return synced;
  if (auto synced = sync_directory(place(address)); !synced)
    return synced;
  // Nobody is to change in place what others read, and what may be linked to by other contents.  When all else is sure:
  // whoever ends before goes on fetching, and needs files that can be written.
  for (auto& file : what->files)
    if (auto path = root / file.path; ::chmod(path.c_str(), file.executable ? 0555 : 0444) != 0)
      return io_problem(path, "made read-only", errno);
  auto changed = *known;
  changed.state = content_state::ready;
  changed.last_use = now;
  changed.bad.clear();
  changed.bad_known = false;
  if (auto written = write(address, changed); !written)
    return written;
  *known = changed;
  return show(address, *what);
}

outcome<verification> store::verify(const content_address& address, time_point now, const work_control& control) {
  auto what = manifest(address);
  if (!what)
    return what.problem();
  auto found = verify_content(*what, place(address), control);
  if (!found)
    return found;
  auto* known = find(address);
  auto fits = known->state != content_state::ready;
  if (!found->whole()) {
    if (auto condemned = condemn(address, found->text(), found->good); !condemned)
      return condemned.problem();
  } else if (fits) {
    known->state = content_state::verifying;
    if (auto ready = finish(address, now); !ready)
      return ready.problem();
  }
  return found;
}

done store::condemn(const content_address& address, std::string reason, const std::vector<bool>& good) {
  auto* known = find(address);
  if (!known)
    return absent(address);
  known->state = content_state::condemned;
  known->reason = single_line(std::move(reason));
  known->bad.clear();
  known->bad_known = good.size() == known->pieces && !good.empty();
  known->bad_boot = options_.boot;
  if (known->bad_known)
    for (std::uint32_t piece = 0; piece < good.size(); ++piece)
      if (!good[piece])
        known->bad.push_back(piece);
  // First of all nobody is to see it, whatever fails.
  auto hidden = hide(address);
  // Where that cannot be written the record goes: without one a content has to be verified.
  auto written = write(address, *known);
  auto path = place(address) / record_file;
  if (!written && ::unlink(path.c_str()) != 0 && errno != ENOENT && hidden)
    return io_problem(path, "removed", errno);
  return hidden ? written : hidden;
}

/// Forgets what is known of its pieces, on the disk first: they are about to be overwritten, and whatever ends that in
/// the middle leaves a content that has to be verified.
done store::doubt(const content_address& address) {
  for (auto* said : {resume_file, blocks_file})
    if (auto removed = remove_file(place(address) / said); !removed)
      return removed;
  auto* known = find(address);
  auto changed = *known;
  changed.state = content_state::verifying;
  changed.bad.clear();
  changed.bad_known = false;
  // Makes the removal last too: it is in the same directory.
  if (auto written = write(address, changed); !written)
    return written;
  *known = changed;
  return nothing{};
}

done store::import(const content& what, const fs::path& source, time_point now, const work_control& control) {
  auto before = state(what.address);
  if (before == content_state::ready)
    return nothing{};
  if (auto fetching = fetch(what, now); !fetching)
    return fetching;
  if (before != content_state::absent)
    if (auto doubted = doubt(what.address); !doubted)
      return doubted;
  auto fail = [&](problem why) -> done {
    if (before == content_state::absent)
      if (auto removed = remove(what.address); !removed)
        why.text += "; " + removed.problem().text;
    return why;
  };
  auto root = place(what.address) / what.name;
  std::error_code ignored;
  auto single = !fs::is_directory(source, ignored);
  auto linked = false;
  auto copy_all = [&](bool links_too) -> done {
    for (auto& file : what.files) {
      if (control.stop.stop_requested())
        return problem{fault::cancelled, "copying was cancelled"};
      auto to = root / file.path;
      if (auto made = make_directory(to.parent_path()); !made)
        return made;
      // What is there is another content's as well: writing into it would change that.
      if (before == content_state::absent && !links_too && fs::exists(fs::symlink_status(to, ignored))) {
        linked = true;
        continue;
      }
      ::unlink(to.c_str());
      if (auto copied = copy_file(single ? source : source / file.path, to, file.size, control.stop); !copied)
        return copied;
    }
    return nothing{};
  };
  if (auto copied = copy_all(false); !copied)
    return fail(copied.problem());
  auto found = verify(what.address, now, control);
  // The other content may be damaged.
  if (found && !found->whole() && linked) {
    if (auto doubted = doubt(what.address); !doubted)
      return fail(doubted.problem());
    if (auto copied = copy_all(true); !copied)
      return fail(copied.problem());
    found = verify(what.address, now, control);
  }
  if (!found)
    return fail(found.problem());
  if (!found->whole())
    return fail({fault::changed, fmt::format("{} changed since it was hashed: {}", source.string(), found->text())});
  return nothing{};
}

done store::pin(const content_address& address, bool pinned) {
  auto* known = find(address);
  if (!known)
    return absent(address);
  auto changed = *known;
  changed.pinned = pinned;
  if (auto written = write(address, changed); !written)
    return written;
  *known = changed;
  return nothing{};
}

void store::touch(const content_address& address, time_point now) {
  auto* known = find(address);
  if (!known)
    return;
  known->last_use = std::max(known->last_use, now);
  // When it cannot be written, an older use is on the disk: no reason to keep anybody from using it.
  if (known->last_use - known->last_use_written > last_use_lag && known->state == content_state::ready)
    static_cast<void>(write(address, *known));
}

done store::evict(const content_address& address) {
  auto* known = find(address);
  if (!known)
    return absent(address);
  if (auto kept = kept_because(address, known->pinned))
    return *kept;
  return remove(address);
}

std::string store::encode(const record& what) {
  auto text =
      fmt::format("{}\nstate {}\nlast_use_ms {}\npinned {}\nsize {}\n", record_head, to_string(what.state),
                  std::chrono::duration_cast<std::chrono::milliseconds>(what.last_use.time_since_epoch()).count(),
                  what.pinned ? 1 : 0, what.size);
  if (!what.reason.empty())
    text += fmt::format("reason {}\n", what.reason);
  if (what.bad_known)
    text += fmt::format("bad_boot {}\nbad {}\n", what.bad_boot, fmt::join(what.bad, ","));
  return text + "sha256 " + checksum(text) + "\n";
}

bool store::decode(std::string_view text, record& what) {
  auto end = text.rfind("sha256 ");
  if (end == std::string_view::npos || text.substr(end) != "sha256 " + checksum(text.substr(0, end)) + "\n")
    return false;
  text = text.substr(0, end);
  auto first = true;
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (std::exchange(first, false)) {
      if (line != record_head)
        return false;
      continue;
    }
    auto key = line.substr(0, line.find(' '));
    auto value = line.substr(std::min(key.size() + 1, line.size()));
    std::int64_t number = 0;
    if (key == "state") {
      auto state = parse_state(value);
      if (!state)
        return false;
      what.state = *state;
    } else if (key == "last_use_ms") {
      if (!parse_number(value, number))
        return false;
      what.last_use = time_point{std::chrono::milliseconds{number}};
    } else if (key == "pinned") {
      what.pinned = value == "1";
    } else if (key == "size") {
      if (!parse_number(value, what.size))
        return false;
    } else if (key == "reason") {
      what.reason = value;
    } else if (key == "bad_boot") {
      what.bad_boot = value;
    } else if (key == "bad") {
      what.bad_known = true;
      while (!value.empty()) {
        auto item = value.substr(0, value.find(','));
        value.remove_prefix(std::min(item.size() + 1, value.size()));
        if (!parse_number(item, what.bad.emplace_back()))
          return false;
      }
    }
    // Other keys are a later version's.
  }
  return !first;
}

done store::write(const content_address& address, record& what) {
  auto written = write_atomically(place(address) / record_file, encode(what));
  if (written)
    what.last_use_written = what.last_use;
  return written;
}

store::record* store::find(const content_address& address) {
  auto found = records_.find(address);
  return found == records_.end() ? nullptr : &found->second;
}

const store::record* store::find(const content_address& address) const {
  auto found = records_.find(address);
  return found == records_.end() ? nullptr : &found->second;
}

done store::show(const content_address& address, const content& what) {
  auto link = visible(address);
  auto target = fs::path{".."} / "data" / to_string(address) / what.name;
  std::error_code ignored;
  if (fs::read_symlink(link, ignored) == target)
    return nothing{};
  ::unlink(link.c_str());
  if (::symlink(target.c_str(), link.c_str()) != 0)
    return io_problem(link, "created", errno);
  return sync_directory(link.parent_path());
}

done store::hide(const content_address& address) {
  auto link = visible(address);
  if (::unlink(link.c_str()) != 0 && errno != ENOENT)
    return io_problem(link, "removed", errno);
  return sync_directory(link.parent_path());
}

/// Has the files writable, no longer than they should be, and out of the way where they are none.
/// Whether none of the file's pieces has to be fetched.
bool store::is_good(const content& what, const content_file& file) const {
  auto good = good_pieces(what.address);
  if (good.size() != what.piece_hashes.size())
    return false;
  auto begin = good.begin() + file.first_piece;
  return std::all_of(begin, begin + file.pieces, [](bool piece) { return piece; });
}

done store::prepare_repair(const content& what) {
  auto root = place(what.address) / what.name;
  for (auto& file : what.files) {
    // Else a link would have files outside changed.
    if (auto other = obstacle(root, file.path); !other.empty() && ::unlink(other.c_str()) != 0)
      return io_problem(other, "removed", errno);
    auto path = root / file.path;
    struct ::stat status {};
    if (::lstat(path.c_str(), &status) != 0)
      continue;
    std::error_code error;
    if (!S_ISREG(status.st_mode)) {
      fs::remove_all(path, error);
      if (error)
        return io_problem(path, "removed", error.value());
      continue;
    }
    // Another content has the same file, and shows it: what is written here must not be seen there.
    if (status.st_nlink > 1) {
      if (is_good(what, file))
        continue;
      auto own = path;
      own += ".own";
      if (auto copied = copy_file(path, own, static_cast<std::uint64_t>(status.st_size), {}); !copied)
        return copied;
      if (::rename(own.c_str(), path.c_str()) != 0)
        return io_problem(path, "replaced", errno);
    }
    if (::chmod(path.c_str(), 0644) != 0)
      return io_problem(path, "made writable", errno);
    if (static_cast<std::uint64_t>(status.st_size) > file.size
        && ::truncate(path.c_str(), static_cast<::off_t>(file.size)) != 0)
      return io_problem(path, "truncated", errno);
  }
  return make_directory(root);
}

done store::remove(const content_address& address) {
  // Hidden first, then out of the way in one step: a crash leaves either a whole content or rubbish.
  if (auto hidden = hide(address); !hidden)
    return hidden;
  std::error_code ignored;
  fs::remove_all(trash(address), ignored);
  if (::rename(place(address).c_str(), trash(address).c_str()) != 0)
    return io_problem(place(address), "removed", errno);
  records_.erase(address);
  if (auto synced = sync_directory(options_.directory / "data"); !synced)
    return synced;
  std::error_code error;
  fs::remove_all(trash(address), error);
  if (error)
    return io_problem(trash(address), "removed", error.value());
  return nothing{};
}

} // namespace astra::p2p
