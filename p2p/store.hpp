#pragma once

#include "p2p/cache_plan.hpp"
#include "p2p/content.hpp"
#include "p2p/file_io.hpp"
#include "p2p/verify.hpp"

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace astra::p2p {

enum class content_state {
  absent,
  /// Pieces are missing.
  fetching,
  /// All may be there, and nobody has looked.
  verifying,
  /// Whole, and visible to apps.
  ready,
  /// Found to be damaged; fetching it again repairs it.
  condemned,
};

std::string_view to_string(content_state state);

struct stored_content {
  content_address address;
  content_state state = content_state::absent;
  /// Of its files, as they will be when they are complete; where both torrent and record are damaged, as they are.
  std::uint64_t size = 0;
  std::chrono::system_clock::time_point last_use;
  bool pinned = false;
  /// Why it is condemned.
  std::string reason;
};

/// Whoever keeps contents: a store on a disk, or one of a simulated machine.
///
/// Not for several threads at a time.  Times are arguments.
class content_store {
public:
  using time_point = std::chrono::system_clock::time_point;

  virtual ~content_store() = default;

  virtual content_state state(const content_address& address) const = 0;
  /// Ascending by address.
  virtual std::vector<stored_content> list() const = 0;
  /// Of all contents, as they will be when they are complete.
  virtual std::uint64_t bytes() const = 0;
  /// What it consists of.
  /// @returns fault::missing, fault::unfit (its torrent is damaged: fetch it again).
  virtual outcome<content> manifest(const content_address& address) const = 0;

  /// Where the files lie or will lie, in a directory of the content's name: what an engine is told.
  virtual std::filesystem::path place(const content_address& address) const = 0;
  /// Where apps find the files; there only while it is ready.
  virtual std::filesystem::path visible(const content_address& address) const = 0;

  /// Makes a content of a directory or file on this machine; see p2p::make_content.
  virtual outcome<content> make(const std::filesystem::path& root, const work_control& control) const = 0;

  /// Makes room for a content that is absent, or opens one that is condemned or unverified for repair; for one that is
  /// fetched already it sees to it that its files can be written.
  /// @returns fault::no_space (beneath the cap, or on the disk), fault::busy (it is ready), fault::io.
  virtual done fetch(const content& what, time_point now) = 0;
  /// The pieces that need not be fetched again, where a verification told since the machine was started; empty:
  /// unknown.
  virtual std::vector<bool> good_pieces(const content_address& address) const = 0;

  /// Keeps what an engine wants back when it resumes.  It knows of all blocks that were noted before.
  virtual done save_resume(const content_address& address, std::span<const char> data) = 0;
  /// Empty: there is none, it is damaged, or the machine was started since.
  virtual std::vector<char> resume(const content_address& address) const = 0;
  /// Keeps what an engine has written since: a process that is killed has nothing of it fetched again.
  virtual done note_blocks(const content_address& address, std::span<const block_run> blocks) = 0;
  /// Since resume data was saved last or a verification told; empty: none, or the machine was started since.
  virtual std::vector<block_run> noted_blocks(const content_address& address) const = 0;

  /// All pieces are there and were verified as they came: checks the files' lengths, makes them last and read-only, and
  /// shows them.
  /// @returns fault::unfit (names the file; nothing becomes visible), fault::busy (it is condemned, or has to be
  /// verified), fault::io.
  virtual done make_ready(const content_address& address, time_point now) = 0;
  /// Hashes everything again.  Whole: it is ready.  Not whole: it is condemned.
  virtual outcome<verification> verify(const content_address& address, time_point now, const work_control& control) = 0;
  /// Hides it and has it fetched again before it is shown.
  /// @param good per piece, where it is known.
  virtual done condemn(const content_address& address, std::string reason, const std::vector<bool>& good) = 0;
  /// Copies a directory or file that `what` was made of, and verifies the copy.  When it fails it leaves nothing
  /// behind, or where there was something before, what has to be verified.
  virtual done import(const content& what, const std::filesystem::path& source, time_point now,
                      const work_control& control) = 0;

  virtual done pin(const content_address& address, bool pinned) = 0;
  /// Somebody uses it now.
  virtual void touch(const content_address& address, time_point now) = 0;
  /// While it is held it is not evicted, even if it comes later; as often as it was held it has to be released.
  void hold(const content_address& address);
  void release(const content_address& address);

  /// @returns fault::busy (pinned or held), fault::missing, fault::io.
  virtual done evict(const content_address& address) = 0;
  /// Evicts until so many bytes fit beneath the cap; nothing where that cannot be had.
  /// @param last_copies What must stay: an app refers to it and nobody else has it.
  /// @param used_since What was used after that stays.
  /// @returns what was evicted; fault::no_space, fault::io.
  outcome<std::vector<content_address>> make_room(std::uint64_t bytes, const std::set<content_address>& last_copies,
                                                  time_point used_since);

  /// Of its files, what other contents have that are ready: it takes no room, and is not fetched.
  virtual std::uint64_t shared_bytes(const content&) const { return 0; }

  /// What the owner of the store wants back at its next start, whole or not at all; empty: nothing, or it is damaged.
  virtual done save_notes(std::string_view notes) = 0;
  virtual std::string notes() const = 0;

protected:
  /// Why it may not be evicted; empty: it may.
  std::optional<problem> kept_because(const content_address& address, bool pinned) const;

private:
  /// Of all contents together; 0: as many as there is room for.
  virtual std::uint64_t bytes_max() const = 0;
  /// What the store is called in problems.
  virtual std::string where() const = 0;

  /// How often each is held, be it there or not: a content may be evicted by hand, or fetched, in between.
  std::map<content_address, std::uint32_t> holds_;
};

/// The contents on a node's disk:
///
///   lock                      held by the process that has the store open
///   data/<address>/           content.torrent, record, resume, blocks, and the files in a directory of the content's
///                             name
///   contents/<address>        a link to that directory, there exactly while the content is ready
///   notes                     what its owner wants back
///   trash/                    what is being made or removed; emptied when the store is opened
///
/// A content appears and disappears in one step, by its link.  The files themselves never move: libtorrent goes on
/// serving them while a content becomes ready, is condemned and is repaired.
///
/// What is known of a content is its record, written whole or not at all.  There is no index beside the records that
/// could say something else: opening a store reads them.  Without a good record a content has to be verified.
///
/// What is said of pieces of a content that is not ready holds until the machine starts again: an engine does not make
/// them last, so a loss of power may take pieces of which a record or resume data on the disk still speak.
class store final : public content_store {
public:
  struct options {
    std::filesystem::path directory;
    /// Of all contents together; 0: as many as the disk holds.
    std::uint64_t bytes_max = 0;
    /// Which start of the machine this is, without a space; empty: nobody knows, and every start counts as another.
    std::string boot = current_boot();
  };

  /// Creates the directory where there is none.
  /// @returns fault::busy while another process has it open; fault::no_space, fault::io.
  static outcome<std::unique_ptr<store>> open(options what);

  content_state state(const content_address& address) const override;
  std::vector<stored_content> list() const override;
  std::uint64_t bytes() const override;
  outcome<content> manifest(const content_address& address) const override;
  std::filesystem::path place(const content_address& address) const override;
  std::filesystem::path visible(const content_address& address) const override;
  outcome<content> make(const std::filesystem::path& root, const work_control& control = {}) const override;
  done fetch(const content& what, time_point now) override;
  std::vector<bool> good_pieces(const content_address& address) const override;
  done save_resume(const content_address& address, std::span<const char> data) override;
  std::vector<char> resume(const content_address& address) const override;
  done note_blocks(const content_address& address, std::span<const block_run> blocks) override;
  std::vector<block_run> noted_blocks(const content_address& address) const override;
  done make_ready(const content_address& address, time_point now) override;
  outcome<verification> verify(const content_address& address, time_point now,
                               const work_control& control = {}) override;
  done condemn(const content_address& address, std::string reason, const std::vector<bool>& good = {}) override;
  done import(const content& what, const std::filesystem::path& source, time_point now,
              const work_control& control = {}) override;
  done pin(const content_address& address, bool pinned) override;
  void touch(const content_address& address, time_point now) override;
  done evict(const content_address& address) override;
  std::uint64_t shared_bytes(const content& what) const override;
  done save_notes(std::string_view notes) override;
  std::string notes() const override;

private:
  std::uint64_t bytes_max() const override { return options_.bytes_max; }
  std::string where() const override { return options_.directory.string(); }

  struct record {
    content_state state = content_state::verifying;
    time_point last_use{};
    bool pinned = false;
    std::string reason;
    /// Pieces that were not good when it was verified last, where it was.
    std::vector<std::uint32_t> bad;
    bool bad_known = false;
    /// The start of the machine in which that was.
    std::string bad_boot;
    /// As its torrent has it, which may be damaged later.
    std::uint64_t size = 0;
    // Not written down.
    std::uint32_t pieces = 0;
    time_point last_use_written{};
  };

  struct noted {
    std::vector<block_run> blocks;
    /// Nothing else is there.
    bool all = false;
  };

  explicit store(options what) : options_(std::move(what)) {}

  done prepare();
  done scan();
  static std::string encode(const record& what);
  static bool decode(std::string_view text, record& what);
  done write(const content_address& address, record& what);
  record* find(const content_address& address);
  const record* find(const content_address& address) const;
  done show(const content_address& address, const content& what);
  done hide(const content_address& address);
  std::uint64_t unwritten() const;
  done finish(const content_address& address, time_point now);
  done doubt(const content_address& address);
  done prepare_repair(const content& what);
  done remove(const content_address& address);
  std::map<digest, std::filesystem::path> known_files() const;
  void share_files(const content& what, const std::filesystem::path& root, record& fresh) const;
  bool is_good(const content& what, const content_file& file) const;
  noted read_blocks(const content_address& address) const;
  std::filesystem::path trash(const content_address& address) const;

  options options_;
  file_handle lock_;
  std::map<content_address, record> records_;
};

} // namespace astra::p2p
