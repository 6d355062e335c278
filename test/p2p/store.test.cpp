#include "p2p/store.hpp"

#include "test/p2p/files.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <set>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace astra::p2p;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

constexpr store::time_point start{1'000'000s};

void need(const done& result) {
  if (!result)
    FAIL(result.problem().text);
}

bool holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// A model of 1.3 MB in three directories.
content write_model(const fs::path& root, std::uint64_t seed) {
  write_file(root / "config.json", "{}" + std::to_string(seed));
  write_file(root / "empty", "");
  write_file(root / "a" / "weights.bin", random_bytes(700'001, seed));
  write_file(root / "a" / "b" / "more.bin", random_bytes(600'000, seed + 1000));
  write_file(root / "run", "#!/bin/sh\n");
  fs::permissions(root / "run", fs::perms::owner_exec, fs::perm_options::add);
  auto made = make_content(root);
  REQUIRE(made);
  return *made;
}

class fixture {
public:
  fixture() { open(); }

  void open(std::uint64_t bytes_max = 0) {
    opened.reset();
    auto result = store::open({directory / "store", bytes_max});
    if (!result)
      FAIL(result.problem().text);
    opened = std::move(*result);
  }

  content add(std::uint64_t seed, store::time_point at = start) {
    auto source = directory / ("model" + std::to_string(seed));
    auto what = write_model(source, seed);
    need(opened->import(what, source, at));
    return what;
  }

  fs::path file(const content& what, std::string_view path) const {
    return opened->place(what.address) / what.name / path;
  }

  temporary_directory directory;
  std::unique_ptr<store> opened;
};

std::size_t entries(const fs::path& path) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator{path}, {}));
}

} // namespace

TEST_CASE_FIXTURE(fixture, "an imported content is visible as it was, read-only, and after a restart too") {
  auto what = add(1);
  for (auto i = 0; i < 2; ++i) {
    CHECK(opened->state(what.address) == content_state::ready);
    auto seen = opened->visible(what.address);
    for (auto& file : what.files) {
      CHECK(file_bytes(seen / file.path) == file_bytes(directory / "model1" / file.path));
      auto mode = fs::status(seen / file.path).permissions() & fs::perms::all;
      CHECK(mode == fs::perms{file.executable ? 0555U : 0444U});
    }
    CHECK(opened->bytes() == what.size);
    auto list = opened->list();
    REQUIRE(list.size() == 1);
    CHECK(list[0].last_use == start);
    CHECK(list[0].size == what.size);
    CHECK(opened->manifest(what.address)->torrent == what.torrent);
    open();
  }
  CHECK(entries(directory / "store" / "trash") == 0);
}

TEST_CASE_FIXTURE(fixture, "a content that is fetched becomes visible when it is complete and no sooner") {
  auto what = write_model(directory / "model", 1);
  auto& address = what.address;
  CHECK(opened->state(address) == content_state::absent);
  need(opened->fetch(what, start));
  CHECK(opened->state(address) == content_state::fetching);
  auto ready = opened->make_ready(address, start);
  REQUIRE_FALSE(ready);
  CHECK(ready.problem().kind == fault::missing);
  fs::copy(directory / "model" / "a", file(what, "a"), fs::copy_options::recursive);
  fs::copy_file(directory / "model" / "run", file(what, "run"));
  write_file(file(what, "config.json"), "{");
  ready = opened->make_ready(address, start);
  REQUIRE_FALSE(ready);
  CHECK(ready.problem().kind == fault::unfit);
  CHECK(holds(ready.problem().text, "config.json should have 3 bytes and has 1"));
  CHECK_FALSE(fs::exists(opened->visible(address)));
  open();
  CHECK(opened->state(address) == content_state::fetching);
  CHECK_FALSE(fs::exists(opened->visible(address)));
  fs::copy_file(directory / "model" / "config.json", file(what, "config.json"), fs::copy_options::overwrite_existing);
  need(opened->make_ready(address, start));
  CHECK(fs::exists(opened->visible(address) / "empty"));
  CHECK(opened->fetch(what, start).problem().kind == fault::busy);
}

TEST_CASE_FIXTURE(fixture, "a store belongs to one process at a time") {
  auto second = store::open({directory / "store", 0});
  REQUIRE_FALSE(second);
  CHECK(second.problem().kind == fault::busy);
  CHECK(holds(second.problem().text, "in use by process " + std::to_string(::getpid())));
  opened.reset();
  CHECK(store::open({directory / "store", 0}));
}

TEST_CASE_FIXTURE(fixture, "verifying names what is damaged, hides the content and knows the pieces to fetch again") {
  auto what = add(1);
  auto& files = what.files;
  auto index = [&](std::string_view path) {
    return static_cast<std::size_t>(std::ranges::find(files, path, &content_file::path) - files.begin());
  };
  CHECK(opened->verify(what.address, start)->whole());
  CHECK(fs::exists(opened->visible(what.address)));
  std::string expected;
  std::set<std::uint32_t> bad;
  SUBCASE("flipped") {
    flip_bit(file(what, "a/weights.bin"), 300'000);
    expected = "a/weights.bin has other bytes";
    bad = {files[index("a/weights.bin")].first_piece + 1};
  }
  SUBCASE("truncated") {
    fs::resize_file(file(what, "a/weights.bin"), 600'000);
    expected = "a/weights.bin is truncated";
    bad = {files[index("a/weights.bin")].first_piece + 2};
  }
  SUBCASE("too long") {
    fs::resize_file(file(what, "config.json"), 600'000);
    expected = "config.json is too long";
  }
  SUBCASE("missing") {
    fs::remove(file(what, "config.json"));
    fs::remove(file(what, "empty"));
    expected = "config.json is missing; empty is missing";
    bad = {files[index("config.json")].first_piece};
  }
  SUBCASE("a link") {
    fs::remove(file(what, "config.json"));
    fs::create_symlink(directory / "model1" / "config.json", file(what, "config.json"));
    expected = "config.json is no file any more";
    bad = {files[index("config.json")].first_piece};
  }
  auto found = opened->verify(what.address, start);
  REQUIRE(found);
  CHECK(found->text() == expected);
  CHECK_FALSE(fs::exists(fs::symlink_status(opened->visible(what.address))));
  for (auto i = 0; i < 2; ++i) {
    CHECK(opened->state(what.address) == content_state::condemned);
    CHECK(opened->list()[0].reason == expected);
    auto good = opened->good_pieces(what.address);
    REQUIRE(good.size() == what.piece_hashes.size());
    for (std::uint32_t piece = 0; piece < good.size(); ++piece)
      CHECK(good[piece] != bad.contains(piece));
    open();
  }
  // The repair, by hand: bytes at their places.
  CHECK(opened->make_ready(what.address, start).problem().kind == fault::busy);
  need(opened->save_resume(what.address, std::string_view{"has all"}));
  need(opened->fetch(what, start));
  CHECK(opened->resume(what.address).empty());
  CHECK(opened->state(what.address) == content_state::fetching);
  for (auto path : {"a/weights.bin", "config.json"})
    fs::copy_file(directory / "model1" / path, file(what, path), fs::copy_options::overwrite_existing);
  CHECK(opened->verify(what.address, start)->text()
        == (expected.ends_with("empty is missing") ? "empty is missing" : ""));
  if (opened->state(what.address) == content_state::condemned) {
    need(opened->fetch(what, start));
    need(opened->make_ready(what.address, start));
  }
  CHECK(opened->state(what.address) == content_state::ready);
  CHECK(opened->verify(what.address, start)->whole());
  CHECK(opened->good_pieces(what.address).empty());
}

TEST_CASE_FIXTURE(fixture, "resume data survives a restart, and goes with its content") {
  auto what = write_model(directory / "model", 1);
  CHECK(opened->save_resume(what.address, std::string_view{"abc"}).problem().kind == fault::missing);
  need(opened->fetch(what, start));
  CHECK(opened->resume(what.address).empty());
  need(opened->save_resume(what.address, std::string_view{"abc"}));
  open();
  CHECK(opened->resume(what.address) == std::vector{'a', 'b', 'c'});
  need(opened->evict(what.address));
  CHECK(opened->resume(what.address).empty());
  CHECK(entries(directory / "store" / "data") == 0);
}

TEST_CASE_FIXTURE(fixture, "blocks that were noted survive the process, until resume data knows of them") {
  auto what = write_model(directory / "model", 1);
  CHECK(opened->note_blocks(what.address, std::vector<block_run>{{0, 0, 1}}).problem().kind == fault::missing);
  need(opened->fetch(what, start));
  auto fill = [&] {
    for (auto& part : what.files) {
      auto path = file(what, part.path);
      fs::create_directories(path.parent_path());
      std::ofstream{path, std::ios::app};
      fs::resize_file(path, part.size);
    }
  };
  fill();
  // They tell of everything that is there.
  CHECK(opened->good_pieces(what.address) == std::vector<bool>(what.piece_hashes.size(), false));
  CHECK(opened->noted_blocks(what.address).empty());
  std::vector<block_run> noted{{1, 0, 16}, {0, 3, 1}};
  need(opened->note_blocks(what.address, std::span{noted}.first(1)));
  need(opened->note_blocks(what.address, std::span{noted}.last(1)));
  open();
  CHECK(opened->noted_blocks(what.address) == noted);
  CHECK(opened->good_pieces(what.address).size() == what.piece_hashes.size());
  auto path = opened->place(what.address) / "blocks";
  SUBCASE("a line that is cut off spoils no other") {
    fs::resize_file(path, fs::file_size(path) - 2);
    need(opened->note_blocks(what.address, std::vector<block_run>{{2, 0, 2}}));
    CHECK(opened->noted_blocks(what.address) == std::vector<block_run>{{1, 0, 16}, {2, 0, 2}});
  }
  SUBCASE("garbage is none") {
    std::ofstream{path, std::ios::app} << "\n1 2\n-1 0 1\n1 2 3 4\n\n99999999999 1 1\n7 0 2";
    noted.push_back({7, 0, 2});
    CHECK(opened->noted_blocks(what.address) == noted);
    std::ofstream{path} << "garbage";
    CHECK(opened->noted_blocks(what.address).empty());
    CHECK(opened->good_pieces(what.address).empty());
  }
  SUBCASE("resume data knows of those before it, and then nothing is known without it") {
    need(opened->save_resume(what.address, std::string_view{"abc"}));
    CHECK(opened->noted_blocks(what.address).empty());
    CHECK(opened->good_pieces(what.address).empty());
    need(opened->note_blocks(what.address, noted));
    CHECK(opened->noted_blocks(what.address) == noted);
    CHECK(opened->good_pieces(what.address).empty());
  }
  SUBCASE("what lies behind the end of a file is not believed") {
    auto piece_1 = std::ranges::find_if(what.files, [](auto& part) { return part.first_piece + part.pieces > 1; });
    fs::resize_file(file(what, piece_1->path), piece_1->first_piece == 1 ? 0 : what.piece_size);
    CHECK(std::ranges::none_of(opened->noted_blocks(what.address), [](auto& run) { return run.piece == 1; }));
    fill();
    CHECK(opened->noted_blocks(what.address) == noted);
    need(opened->note_blocks(what.address, std::vector<block_run>{{1U << 30U, 0, 1}}));
    CHECK(opened->noted_blocks(what.address) == noted);
  }
  SUBCASE("they go with what is condemned") {
    need(opened->condemn(what.address, "a test", {}));
    need(opened->fetch(what, start));
    CHECK(opened->noted_blocks(what.address).empty());
    CHECK(opened->good_pieces(what.address).empty());
  }
  SUBCASE("and with the content") {
    need(opened->evict(what.address));
    CHECK(opened->noted_blocks(what.address).empty());
    CHECK(entries(directory / "store" / "data") == 0);
  }
}

TEST_CASE_FIXTURE(fixture, "what is said of pieces that nobody made last does not outlive the machine") {
  auto fetched = write_model(directory / "model", 7);
  auto condemned = add(1);
  auto boot = [&](std::string name) {
    opened.reset();
    auto result = store::open({directory / "store", 0, std::move(name)});
    REQUIRE(result);
    opened = std::move(*result);
  };
  boot("one");
  need(opened->fetch(fetched, start));
  need(opened->save_resume(fetched.address, std::string_view{"abc"}));
  need(opened->note_blocks(fetched.address, std::vector<block_run>{{0, 0, 1}}));
  flip_bit(file(condemned, "config.json"), 0);
  REQUIRE_FALSE(opened->verify(condemned.address, start)->whole());
  boot("one");
  CHECK(opened->resume(fetched.address) == std::vector{'a', 'b', 'c'});
  CHECK(std::ranges::count(opened->good_pieces(condemned.address), false) == 1);
  auto path = opened->place(fetched.address) / "resume";
  for (std::uint64_t i = 0; i < fs::file_size(path); ++i) {
    flip_bit(path, i);
    CHECK(opened->resume(fetched.address).empty());
    flip_bit(path, i);
  }
  for (std::string other : {"two", "two", ""}) {
    boot(other);
    CHECK(opened->resume(fetched.address).empty());
    CHECK(opened->noted_blocks(fetched.address).empty());
    CHECK(opened->good_pieces(condemned.address).empty());
    CHECK(opened->state(condemned.address) == content_state::condemned);
    // Writes the record again, and says nothing of the pieces.
    need(opened->pin(condemned.address, other.empty()));
  }
  // Where the kernel does not say, nothing is trusted even within one start.
  need(opened->save_resume(fetched.address, std::string_view{"abc"}));
  CHECK(opened->resume(fetched.address).empty());
  CHECK(opened->verify(condemned.address, start));
  CHECK(opened->good_pieces(condemned.address).empty());
  CHECK(current_boot() == current_boot());
}

TEST_CASE_FIXTURE(fixture, "a content without a good record is hidden until it is verified; nothing else is lost") {
  auto what = add(1);
  auto other = add(2);
  need(opened->pin(other.address, true));
  auto path = opened->place(what.address) / "record";
  SUBCASE("missing") {
    fs::remove(path);
  }
  SUBCASE("cut") {
    fs::resize_file(path, fs::file_size(path) - 10);
  }
  SUBCASE("empty") {
    fs::resize_file(path, 0);
  }
  SUBCASE("any bit flipped") {
    for (std::uint64_t i = 0; i < fs::file_size(path); ++i) {
      flip_bit(path, i);
      open();
      CHECK(opened->state(what.address) == content_state::verifying);
      flip_bit(path, i);
    }
    open();
    CHECK(opened->state(what.address) == content_state::ready);
    flip_bit(path, 3);
  }
  open();
  CHECK(opened->state(what.address) == content_state::verifying);
  CHECK_FALSE(fs::exists(fs::symlink_status(opened->visible(what.address))));
  CHECK(opened->state(other.address) == content_state::ready);
  CHECK(opened->evict(other.address).problem().kind == fault::busy);
  CHECK(opened->verify(what.address, start)->whole());
  open();
  CHECK(opened->state(what.address) == content_state::ready);
  CHECK(fs::exists(opened->visible(what.address) / "config.json"));
}

TEST_CASE_FIXTURE(fixture, "a content without a record can be fetched, over what is there") {
  auto what = add(1);
  fs::remove(opened->place(what.address) / "record");
  open();
  need(opened->fetch(what, start));
  CHECK(opened->state(what.address) == content_state::fetching);
  CHECK(opened->good_pieces(what.address).empty());
  auto mode = fs::status(file(what, "config.json")).permissions() & fs::perms::all;
  CHECK(mode == fs::perms{0644});
  need(opened->make_ready(what.address, start));
}

TEST_CASE_FIXTURE(fixture, "what is condemned is not shown again, even when that could not be written down") {
  auto what = add(1);
  flip_bit(file(what, "config.json"), 0);
  // In the way of every record.
  fs::create_directory(opened->place(what.address) / "record.new");
  CHECK(opened->verify(what.address, start).problem().kind == fault::io);
  CHECK(opened->state(what.address) == content_state::condemned);
  CHECK_FALSE(fs::exists(fs::symlink_status(opened->visible(what.address))));
  open();
  CHECK(opened->state(what.address) == content_state::verifying);
  CHECK_FALSE(fs::exists(fs::symlink_status(opened->visible(what.address))));
}

TEST_CASE_FIXTURE(fixture, "a content whose torrent is damaged is condemned until the torrent is there again") {
  auto what = add(1);
  flip_bit(opened->place(what.address) / "content.torrent", 40);
  open();
  CHECK(opened->state(what.address) == content_state::condemned);
  CHECK(holds(opened->list()[0].reason, "content.torrent"));
  CHECK_FALSE(fs::exists(fs::symlink_status(opened->visible(what.address))));
  CHECK(opened->manifest(what.address).problem().kind == fault::unfit);
  need(opened->fetch(what, start));
  CHECK(opened->verify(what.address, start)->whole());
  CHECK(opened->state(what.address) == content_state::ready);
}

TEST_CASE_FIXTURE(fixture, "room is made by last use, and never at the cost of what has to stay") {
  auto first = add(1, start);
  auto second = add(2, start + 1s);
  auto third = add(3, start + 2s);
  opened->touch(first.address, start + 3s);
  auto size = first.size;
  open(3 * size + 10);
  opened->touch(first.address, start + 1h);
  open(3 * size + 10);
  auto fourth = write_model(directory / "model4", 4);
  auto full = opened->fetch(fourth, start);
  REQUIRE_FALSE(full);
  CHECK(full.problem().kind == fault::no_space);
  CHECK(holds(full.problem().text, "are taken"));
  opened->hold(second.address);
  auto evicted = opened->make_room(size, {}, start + 2h);
  REQUIRE(evicted);
  CHECK(*evicted == std::vector{third.address});
  need(opened->fetch(fourth, start));
  need(opened->pin(first.address, true));
  auto none = opened->make_room(size, {}, start + 2h);
  REQUIRE_FALSE(none);
  CHECK(none.problem().kind == fault::no_space);
  opened->release(second.address);
  CHECK_FALSE(opened->make_room(size, {second.address}, start + 2h));
  CHECK_FALSE(opened->make_room(size, {}, start));
  CHECK(opened->make_room(size, {}, start + 2h)->size() == 1);
  CHECK_FALSE(fs::exists(fs::symlink_status(opened->visible(second.address))));
  CHECK(opened->state(first.address) == content_state::ready);
}

TEST_CASE_FIXTURE(fixture, "of a new version only the files that changed are fetched, and the others take no room") {
  auto old = add(1);
  auto source = directory / "next";
  auto next = write_model(source, 1);
  write_file(source / "a" / "b" / "more.bin", random_bytes(600'000, 77));
  auto changed = make_content(source);
  REQUIRE(changed);
  REQUIRE(changed->address != old.address);
  need(opened->fetch(*changed, start));
  auto good = opened->good_pieces(changed->address);
  REQUIRE(good.size() == changed->piece_hashes.size());
  for (auto& file : changed->files)
    for (std::uint32_t piece = 0; piece < file.pieces; ++piece)
      CHECK(good[file.first_piece + piece] == (file.path != "a/b/more.bin"));
  struct ::stat one {};
  struct ::stat other {};
  REQUIRE(::stat(file(old, "a/weights.bin").c_str(), &one) == 0);
  REQUIRE(::stat(file(*changed, "a/weights.bin").c_str(), &other) == 0);
  CHECK(one.st_ino == other.st_ino);
  // The old one goes, the new one keeps what they shared.
  need(opened->evict(old.address));
  write_file(file(*changed, "a/b/more.bin"), random_bytes(600'000, 77));
  write_file(file(*changed, "empty"), "");
  need(opened->make_ready(changed->address, start));
  auto found = opened->verify(changed->address, start);
  REQUIRE(found);
  CHECK(found->whole());
}

TEST_CASE_FIXTURE(fixture, "a version is imported beside a former one without touching its files, even damaged ones") {
  auto old = add(1);
  auto weights = file(old, "a/weights.bin");
  auto damaged = false;
  SUBCASE("whole") {}
  SUBCASE("damaged") {
    damaged = true;
  }
  auto source = directory / "next";
  write_model(source, 1);
  write_file(source / "config.json", "another");
  auto next = make_content(source);
  REQUIRE(next);
  if (damaged) {
    fs::permissions(weights, fs::perms::owner_write, fs::perm_options::add);
    write_file(weights, random_bytes(700'001, 99));
  }
  need(opened->import(*next, source, start));
  CHECK(opened->state(next->address) == content_state::ready);
  auto found = opened->verify(next->address, start);
  REQUIRE(found);
  CHECK(found->whole());
  struct ::stat one {};
  struct ::stat other {};
  REQUIRE(::stat(weights.c_str(), &one) == 0);
  REQUIRE(::stat(file(*next, "a/weights.bin").c_str(), &other) == 0);
  CHECK((one.st_ino == other.st_ino) == !damaged);
  auto before = opened->verify(old.address, start);
  REQUIRE(before);
  CHECK(before->whole() == !damaged);
}

TEST_CASE_FIXTURE(fixture, "notes come back after a restart, or not at all") {
  CHECK(opened->notes().empty());
  auto text = std::string{"names\0and more", 14};
  need(opened->save_notes(text));
  CHECK(opened->notes() == text);
  open();
  CHECK(opened->notes() == text);
  write_file(directory / "store" / "notes", "garbage");
  CHECK(opened->notes().empty());
}

TEST_CASE_FIXTURE(fixture, "a source that changed since it was hashed is not imported") {
  auto what = write_model(directory / "model", 1);
  SUBCASE("other bytes") {
    flip_bit(directory / "model" / "config.json", 0);
  }
  SUBCASE("shorter") {
    fs::resize_file(directory / "model" / "a" / "weights.bin", 10);
  }
  SUBCASE("gone") {
    fs::remove(directory / "model" / "a" / "weights.bin");
  }
  auto result = opened->import(what, directory / "model", start);
  REQUIRE_FALSE(result);
  CHECK_FALSE(result.problem().text.empty());
  CHECK(opened->state(what.address) == content_state::absent);
  CHECK(entries(directory / "store" / "data") == 0);
  CHECK(entries(directory / "store" / "contents") == 0);
}

TEST_CASE_FIXTURE(fixture, "what an import cut short has overwritten is not taken for good") {
  auto condemned = false;
  auto fetched = false;
  SUBCASE("over a condemned content") {
    condemned = true;
  }
  SUBCASE("over a content that is fetched") {
    fetched = true;
  }
  SUBCASE("over a condemned content that is fetched again") {
    condemned = fetched = true;
  }
  for (auto killed : {false, true}) {
    auto source = directory / (killed ? "model2" : "model1");
    auto what = add(killed ? 2 : 1);
    auto& address = what.address;
    if (condemned) {
      flip_bit(file(what, "a/weights.bin"), 300'000);
      REQUIRE_FALSE(opened->verify(address, start)->whole());
      REQUIRE_FALSE(opened->good_pieces(address).empty());
    } else {
      need(opened->evict(address));
    }
    if (fetched) {
      need(opened->fetch(what, start));
      need(opened->save_resume(address, std::string_view{"has all"}));
      REQUIRE_FALSE(opened->resume(address).empty());
    }
    // Another byte in a file that was good, and the same length: nobody sees it who does not hash it.
    flip_bit(source / "config.json", 0);
    std::stop_source stop;
    // All is copied, and nothing but the first piece looked at.
    auto cut_short = [&](std::uint64_t, std::uint64_t) {
      if (killed)
        ::kill(::getpid(), SIGKILL);
      stop.request_stop();
    };
    if (killed) {
      opened.reset();
      auto child = ::fork();
      REQUIRE(child >= 0);
      if (child == 0) {
        auto mine = store::open({directory / "store", 0});
        if (mine)
          static_cast<void>((*mine)->import(what, source, start, {cut_short, {}}));
        ::_exit(1);
      }
      int status = 0;
      REQUIRE(::waitpid(child, &status, 0) == child);
      REQUIRE(WIFSIGNALED(status));
      open();
    } else {
      auto result = opened->import(what, source, start, {cut_short, stop.get_token()});
      REQUIRE_FALSE(result);
      CHECK(result.problem().kind == fault::cancelled);
    }
    for (auto i = 0; i < 2; ++i) {
      CHECK(opened->state(address) == content_state::verifying);
      CHECK(opened->good_pieces(address).empty());
      CHECK(opened->resume(address).empty());
      auto ready = opened->make_ready(address, start);
      REQUIRE_FALSE(ready);
      CHECK(ready.problem().kind == fault::busy);
      open();
    }
    CHECK(opened->verify(address, start)->text() == "config.json has other bytes");
  }
}

TEST_CASE_FIXTURE(fixture, "files stay writable until all of them are there, and are made so when fetching goes on") {
  auto what = add(1);
  need(opened->condemn(what.address, "by test"));
  need(opened->fetch(what, start));
  fs::remove(file(what, "run"));
  CHECK(opened->make_ready(what.address, start).problem().kind == fault::missing);
  auto mode = [&](std::string_view path) { return fs::status(file(what, path)).permissions() & fs::perms::all; };
  CHECK(mode("a/weights.bin") == fs::perms{0644});
  CHECK(mode("config.json") == fs::perms{0644});
  // As after a kill between making them read-only and writing that down.
  fs::permissions(file(what, "config.json"), fs::perms{0444});
  need(opened->fetch(what, start));
  CHECK(mode("config.json") == fs::perms{0644});
}

TEST_CASE_FIXTURE(fixture, "a content is hidden first, whatever else fails when it is condemned") {
  auto what = add(1);
  // In the way of every record, and of removing the one that is there.
  fs::create_directory(opened->place(what.address) / "record.new");
  fs::remove(opened->place(what.address) / "record");
  fs::create_directory(opened->place(what.address) / "record");
  auto result = opened->condemn(what.address, "by test");
  REQUIRE_FALSE(result);
  CHECK(result.problem().kind == fault::io);
  CHECK_FALSE(fs::exists(fs::symlink_status(opened->visible(what.address))));
  CHECK(opened->state(what.address) == content_state::condemned);
}

TEST_CASE_FIXTURE(fixture, "holds count for an address, whether there is a content or not") {
  auto what = write_model(directory / "model", 1);
  opened->hold(what.address);
  need(opened->import(what, directory / "model", start));
  CHECK(opened->evict(what.address).problem().kind == fault::busy);
  opened->release(what.address);
  need(opened->evict(what.address));
}

TEST_CASE_FIXTURE(fixture, "a content whose torrent is damaged counts with its size, and can be evicted for room") {
  auto what = add(1);
  flip_bit(opened->place(what.address) / "content.torrent", 40);
  SUBCASE("its record is good") {}
  SUBCASE("its record is lost too") {
    fs::remove(opened->place(what.address) / "record");
  }
  open(what.size + 10);
  CHECK(opened->state(what.address) == content_state::condemned);
  CHECK(opened->bytes() == what.size);
  CHECK(*opened->make_room(what.size, {}, start + 1h) == std::vector{what.address});
  CHECK(opened->bytes() == 0);
}

TEST_CASE_FIXTURE(fixture, "a link in place of a directory leads no repair and no verification out of the store") {
  auto what = add(1);
  auto outside = directory / "outside";
  auto weights = outside / "weights.bin";
  auto moved = file(what, "a");
  SUBCASE("a directory of the content") {}
  SUBCASE("the directory of the content") {
    moved = opened->place(what.address) / what.name;
    weights = outside / "a" / "weights.bin";
  }
  fs::rename(moved, outside);
  fs::create_directory_symlink(outside, moved);
  CHECK(holds(opened->verify(what.address, start)->text(), "a/weights.bin is no file any more"));
  CHECK(opened->state(what.address) == content_state::condemned);
  fs::resize_file(weights, 900'000);
  fs::permissions(weights, fs::perms{0400});
  need(opened->fetch(what, start));
  CHECK(fs::file_size(weights) == 900'000);
  CHECK((fs::status(weights).permissions() & fs::perms::all) == fs::perms{0400});
  CHECK_FALSE(fs::exists(file(what, "a/weights.bin")));
  fs::create_directory_symlink(weights.parent_path(), file(what, "a"));
  fs::resize_file(weights, 700'001);
  CHECK(holds(opened->make_ready(what.address, start).problem().text, "should be a directory and is none"));
  CHECK((fs::status(weights).permissions() & fs::perms::all) == fs::perms{0400});
}

TEST_CASE_FIXTURE(fixture, "a record is never so long that it could not be read again") {
  auto what = add(1);
  need(opened->pin(what.address, true));
  need(opened->condemn(what.address, std::string(5'000'000, 'x')));
  open();
  CHECK(opened->state(what.address) == content_state::condemned);
  CHECK(opened->list()[0].pinned);
  CHECK(opened->list()[0].reason.starts_with("xxx"));
}

TEST_CASE("what running fetches have still to write is not free") {
  temporary_directory directory;
  small_disk mounted{directory / "disk"};
  if (!mounted) {
    MESSAGE("skipped: only root can mount a small disk");
    return;
  }
  auto first = write_model(directory / "first", 1);
  auto second = write_model(directory / "second", 2);
  auto opened = store::open({directory / "disk" / "store", 0});
  REQUIRE(opened);
  need((*opened)->fetch(first, start));
  auto full = (*opened)->fetch(second, start);
  REQUIRE_FALSE(full);
  CHECK(full.problem().kind == fault::no_space);
  CHECK(holds(full.problem().text, "are free on the disk of"));
  need((*opened)->evict(first.address));
  need((*opened)->fetch(second, start));
}

TEST_CASE_FIXTURE(fixture, "a process killed at any moment leaves nothing visible that is not whole") {
  opened.reset();
  std::vector<content> contents;
  for (std::uint64_t seed = 1; seed <= 3; ++seed)
    contents.push_back(write_model(directory / ("model" + std::to_string(seed)), seed));
  std::mt19937_64 random{11};
  std::size_t seen = 0;
  std::set<content_state> states;
  for (auto round = 0; round < 60; ++round) {
    int progress[2];
    REQUIRE(::pipe2(progress, O_CLOEXEC) == 0);
    auto child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      // Becomes ready, is condemned, repaired and evicted, over and over.
      auto mine = store::open({directory / "store", 0});
      for (std::size_t i = static_cast<std::size_t>(round); mine; ++i) {
        auto& what = contents[i % 3];
        auto source = directory / ("model" + std::to_string(i % 3 + 1));
        if (i % 4 == 0 && (*mine)->state(what.address) == content_state::ready)
          static_cast<void>((*mine)->condemn(what.address, "by test"));
        if (i % 5 == 0)
          static_cast<void>((*mine)->evict(what.address));
        static_cast<void>((*mine)->import(what, source, start));
        if (::write(progress[1], "x", 1) != 1)
          break;
      }
      ::_exit(1);
    }
    ::close(progress[1]);
    // However slow the machine: after none to three of its rounds.
    char byte = 0;
    for (auto i = 0; i < round % 4; ++i)
      REQUIRE(::read(progress[0], &byte, 1) == 1);
    std::this_thread::sleep_for(std::chrono::microseconds{2000 + random() % 60'000});
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    ::close(progress[0]);
    REQUIRE(WIFSIGNALED(status));
    open();
    CHECK(entries(directory / "store" / "trash") == 0);
    std::size_t visible = 0;
    for (auto& what : contents) {
      auto state = opened->state(what.address);
      states.insert(state);
      auto shown = fs::exists(fs::symlink_status(opened->visible(what.address)));
      CHECK(shown == (state == content_state::ready));
      if (!shown)
        continue;
      ++visible;
      for (auto& file : what.files)
        CHECK(fs::file_size(opened->visible(what.address) / file.path) == file.size);
      CHECK(verify_content(what, opened->place(what.address))->whole());
    }
    CHECK(entries(directory / "store" / "contents") == visible);
    seen += visible;
    opened.reset();
  }
  // It was killed in the middle of things, and not only before.
  CHECK(seen > 0);
  CHECK(states.size() > 1);
}

TEST_CASE("a full disk and a read-only one are named, and nothing is half visible") {
  temporary_directory directory;
  auto disk = directory / "disk";
  small_disk mounted{disk};
  if (!mounted) {
    MESSAGE("skipped: only root can mount a small disk");
    return;
  }
  auto small = write_model(directory / "small", 1);
  auto large = write_model(directory / "large", 2);
  {
    auto opened = store::open({disk / "store", 0});
    REQUIRE(opened);
    auto& store = **opened;
    need(store.import(small, directory / "small", start));
    auto full = store.fetch(large, start);
    REQUIRE_FALSE(full);
    CHECK(full.problem().kind == fault::no_space);
    CHECK(holds(full.problem().text, "are free on the disk of"));
    // Somebody else fills the disk after the store has looked.
    need(store.evict(small.address));
    need(store.fetch(large, start));
    write_file(disk / "other", std::string(1'500'000, 'x'));
    full = store.import(large, directory / "large", start);
    REQUIRE_FALSE(full);
    CHECK(full.problem().kind == fault::no_space);
    CHECK(holds(full.problem().text, "No space left on device"));
    CHECK(entries(disk / "store" / "contents") == 0);
    fill_disk(disk / "other");
    full = store.save_resume(large.address, random_bytes(10'000, 1));
    REQUIRE_FALSE(full);
    CHECK(full.problem().kind == fault::no_space);
    CHECK(store.resume(large.address).empty());
    CHECK_FALSE(fs::exists(store.place(large.address) / "resume.new"));
    fs::remove(disk / "other");
    need(store.import(large, directory / "large", start));
    // A disk that is full keeps nobody from hiding what is damaged, and after a restart it is still hidden.
    fill_disk(disk / "other");
    flip_bit(store.place(large.address) / large.name / "config.json", 0);
    static_cast<void>(store.verify(large.address, start));
    CHECK(entries(disk / "store" / "contents") == 0);
    CHECK(store.state(large.address) == content_state::condemned);
  }
  {
    auto opened = store::open({disk / "store", 0});
    REQUIRE(opened);
    CHECK((*opened)->state(large.address) != content_state::ready);
    CHECK(entries(disk / "store" / "contents") == 0);
  }
  REQUIRE(mounted.make_read_only());
  auto opened = store::open({disk / "store", 0});
  REQUIRE_FALSE(opened);
  CHECK(opened.problem().kind == fault::io);
  CHECK(holds(opened.problem().text, "lock cannot be opened: Read-only file system"));
}
