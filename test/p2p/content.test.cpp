#include "p2p/content.hpp"

#include "p2p/bencode.hpp"
#include "test/p2p/files.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

using namespace astra::p2p;
namespace fs = std::filesystem;

namespace {

/// A model as one is likely to be: small files, large ones, an empty one, one that is executable.
void write_model(const fs::path& root, std::uint64_t seed = 1) {
  write_file(root / "config.json", "{\"layers\": 2}");
  write_file(root / "empty", "");
  write_file(root / "a-b", random_bytes(40'000, seed));
  write_file(root / "a" / "weights.bin", random_bytes(700'001, seed + 1));
  write_file(root / "a" / "again.bin", random_bytes(700'001, seed + 1));
  write_file(root / "bin" / "run", "#!/bin/sh\n");
  write_file(root / "w\xC3\xA9ights", random_bytes(256 * 1024, seed + 2));
  fs::permissions(root / "bin" / "run", fs::perms::owner_exec, fs::perm_options::add);
}

content made(const fs::path& root) {
  auto result = make_content(root);
  if (!result)
    FAIL(result.problem().text);
  return *result;
}

problem refusal(const fs::path& root) {
  auto result = make_content(root);
  REQUIRE_FALSE(result);
  return result.problem();
}

bool holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string read_refusal(std::string_view torrent) {
  auto result = read_content(torrent);
  return result ? std::string{} : result.problem().text;
}

std::string replaced(const content& what, std::string_view from, std::string_view to) {
  std::string torrent(what.torrent.begin(), what.torrent.end());
  auto at = torrent.find(from);
  REQUIRE(at != std::string::npos);
  return torrent.replace(at, from.size(), to);
}

struct fixture {
  temporary_directory directory;
};

} // namespace

TEST_CASE_FIXTURE(fixture, "a tree has one address, wherever, whenever and in whatever order it was written") {
  write_model(directory / "one");
  auto root = directory / "two" / "elsewhere";
  auto mask = ::umask(077);
  write_file(root / "w\xC3\xA9ights", random_bytes(256 * 1024, 3));
  write_file(root / "bin" / "run", "#!/bin/sh\n");
  fs::permissions(root / "bin" / "run", fs::perms::owner_exec, fs::perm_options::add);
  write_file(root / "a-b", random_bytes(40'000, 1));
  write_file(root / "a" / "again.bin", random_bytes(700'001, 2));
  write_file(root / "a" / "weights.bin", random_bytes(700'001, 2));
  write_file(root / "empty", "");
  write_file(root / "config.json", "{\"layers\": 2}");
  fs::create_directory(root / "without-files");
  ::umask(mask);
  fs::last_write_time(root / "empty", fs::file_time_type::clock::now() - std::chrono::hours{1000});
  auto one = made(directory / "one");
  auto two = made(root);
  CHECK(one.address == two.address);
  CHECK(one.torrent == two.torrent);
  CHECK(one.name.size() == 64);
}

TEST_CASE_FIXTURE(fixture, "whatever one would notice in a tree changes its address") {
  auto root = directory / "model";
  write_model(root);
  auto before = made(root).address;
  SUBCASE("a byte") {
    flip_bit(root / "a" / "weights.bin", 700'000);
  }
  SUBCASE("an executable bit") {
    fs::permissions(root / "bin" / "run", fs::perms::owner_exec, fs::perm_options::remove);
  }
  SUBCASE("a name") {
    fs::rename(root / "empty", root / "emptier");
  }
  SUBCASE("an empty file") {
    fs::remove(root / "empty");
  }
  SUBCASE("a length") {
    fs::resize_file(root / "a" / "weights.bin", 700'000);
  }
  CHECK(made(root).address != before);
}

TEST_CASE_FIXTURE(fixture, "a torrent gives the manifest back") {
  write_model(directory / "model");
  auto before = made(directory / "model");
  auto after = read_content(before.torrent);
  REQUIRE(after);
  CHECK(after->address == before.address);
  CHECK(after->piece_size == 256 * 1024);
  CHECK(after->size == before.size);
  CHECK(after->piece_hashes == before.piece_hashes);
  std::vector<std::string> paths;
  std::uint32_t pieces = 0;
  for (auto& file : after->files) {
    paths.push_back(file.path);
    CHECK(file.size == fs::file_size(directory / "model" / file.path));
    CHECK(file.executable == (file.path == "bin/run"));
    CHECK(file.first_piece == pieces);
    pieces += file.pieces;
  }
  CHECK(paths
        == std::vector<std::string>{"a/again.bin", "a/weights.bin", "a-b", "bin/run", "config.json", "empty",
                                    "w\xC3\xA9ights"});
  CHECK(pieces == after->piece_hashes.size());
  CHECK(after->files[0].root == after->files[1].root);
  CHECK(after->files[0].pieces == 3);
}

TEST_CASE_FIXTURE(fixture, "hashes are those of BEP 52, worked out by hand") {
  auto sha = [](std::string_view bytes) {
    digest result;
    ::SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), result.data());
    return result;
  };
  auto pair = [&](const digest& left, const digest& right) {
    std::string both{left.begin(), left.end()};
    both.append(right.begin(), right.end());
    return sha(both);
  };
  auto bytes = random_bytes(3 * 16 * 1024 + 5, 9);
  auto block = [&](std::size_t i) { return sha(std::string_view{bytes}.substr(i * 16 * 1024, 16 * 1024)); };
  write_file(directory / "one", bytes.substr(0, 100));
  write_file(directory / "three", bytes.substr(0, 3 * 16 * 1024));
  CHECK(made(directory / "one").files[0].root == sha(bytes.substr(0, 100)));
  CHECK(made(directory / "three").files[0].root == pair(pair(block(0), block(1)), pair(block(2), digest{})));
  // Two pieces and a byte: the third piece's tree is as wide as the others', and so is the fourth's, which is absent.
  auto two = random_bytes(2 * 256 * 1024 + 1, 10);
  write_file(directory / "two", two);
  std::vector<digest> level;
  for (std::size_t i = 0; i < 32; ++i)
    level.push_back(sha(std::string_view{two}.substr(i * 16 * 1024, 16 * 1024)));
  level.push_back(sha(two.substr(2 * 256 * 1024)));
  level.resize(64);
  while (level.size() > 1) {
    for (std::size_t i = 0; i < level.size() / 2; ++i)
      level[i] = pair(level[2 * i], level[2 * i + 1]);
    level.resize(level.size() / 2);
  }
  CHECK(made(directory / "two").files[0].root == level[0]);
}

TEST_CASE("pieces are powers of two from 256 KiB to 4 MiB, 1,000 to 4,000 where that can be") {
  CHECK(choose_piece_size(1) == 256 * 1024);
  CHECK(choose_piece_size(900ULL << 20U) == 256 * 1024);
  CHECK(choose_piece_size(1ULL << 30U) == 512 * 1024);
  CHECK(choose_piece_size(100ULL << 30U) == 4 * 1024 * 1024);
  CHECK(rc::check("", [] {
    auto bytes = *rc::gen::inRange<std::uint64_t>(1, 15ULL << 30U);
    auto size = choose_piece_size(bytes);
    RC_ASSERT(bytes / size <= 4000U);
    RC_ASSERT(size == 256U * 1024U || bytes / size >= 1000U);
  }));
}

TEST_CASE_FIXTURE(fixture, "a single file is a content under its own name") {
  write_file(directory / "x" / "model.gguf", "abc");
  auto what = made(directory / "x" / "model.gguf");
  REQUIRE(what.files.size() == 1);
  CHECK(what.files[0].path == "model.gguf");
  CHECK(what.address == made(directory / "x").address);
  write_file(directory / "y" / "x" / "model.gguf", "abc");
  auto nested = made(directory / "y");
  REQUIRE(nested.files.size() == 1);
  CHECK(nested.files[0].path == "x/model.gguf");
}

TEST_CASE_FIXTURE(fixture, "what no content can be made of is refused by name") {
  auto root = directory / "model";
  write_file(root / "good", "abc");
  SUBCASE("nothing there") {
    auto wrong = refusal(directory / "absent");
    CHECK(wrong.kind == fault::missing);
    CHECK(holds(wrong.text, "absent"));
  }
  SUBCASE("no files") {
    fs::create_directories(directory / "hollow" / "deep");
    CHECK(holds(refusal(directory / "hollow").text, "hollow is empty"));
  }
  SUBCASE("no bytes") {
    write_file(directory / "file", "");
    CHECK(holds(refusal(directory / "file").text, "is empty"));
  }
  SUBCASE("a link out of the tree") {
    write_file(directory / "secret", "abc");
    fs::create_symlink("../secret", root / "link");
    auto wrong = refusal(root);
    CHECK(wrong.kind == fault::unfit);
    CHECK(holds(wrong.text, "model/link links to "));
    CHECK(holds(wrong.text, "secret, outside of"));
  }
  SUBCASE("a link to a neighbour whose name begins alike") {
    write_file(directory / "model-2" / "secret", "abc");
    fs::create_symlink("../model-2/secret", root / "link");
    CHECK(holds(refusal(root).text, "outside of"));
  }
  SUBCASE("a link to nothing") {
    fs::create_symlink("nowhere", root / "link");
    CHECK(holds(refusal(root).text, "model/link is a link to what is not there"));
  }
  SUBCASE("a link to a directory, even its own") {
    fs::create_directory_symlink(".", root / "link");
    CHECK(holds(refusal(root).text, "model/link links to a directory"));
  }
  SUBCASE("a pipe") {
    REQUIRE(::mkfifo((root / "pipe").c_str(), 0600) == 0);
    CHECK(holds(refusal(root).text, "model/pipe is a socket, pipe or device"));
  }
  SUBCASE("a name that is not UTF-8") {
    write_file(root / "caf\xE9", "abc");
    CHECK(holds(refusal(root).text, "caf\\xe9: the name is not UTF-8"));
  }
  SUBCASE("a name that libtorrent would change") {
    write_file(root / "a\\b", "abc");
    CHECK(holds(refusal(root).text, "backslash"));
  }
  SUBCASE("a name with a mark for the direction of writing") {
    write_file(root
                   / "a\xE2\x80\xAE"
                     "b",
               "abc");
    CHECK(holds(refusal(root).text, "direction of writing"));
  }
  SUBCASE("names that differ in case alone") {
    write_file(root / "GOOD", "abc");
    CHECK(holds(refusal(root).text, "GOOD and good differ in nothing but case"));
  }
  SUBCASE("directories too deep") {
    auto deep = root;
    for (auto i = 0; i < 40; ++i)
      deep /= "d";
    write_file(deep / "file", "abc");
    CHECK(holds(refusal(root).text, "deep"));
  }
}

TEST_CASE_FIXTURE(fixture, "a link inside the tree is read as the file it names") {
  auto linked = directory / "linked";
  write_file(linked / "a", "abc");
  fs::create_symlink("a", linked / "b");
  write_file(directory / "plain" / "a", "abc");
  write_file(directory / "plain" / "b", "abc");
  CHECK(made(linked).address == made(directory / "plain").address);
}

TEST_CASE_FIXTURE(fixture, "a file that changes while it is read is told from one that does not") {
  auto root = directory / "model";
  write_file(root / "a", random_bytes(600'000, 1));
  write_file(root / "b", random_bytes(600'000, 2));
  auto at = 0;
  auto with = [&](auto change) {
    at = 0;
    return make_content(root, {[&](std::uint64_t, std::uint64_t) {
                                 if (++at == 4)
                                   change();
                               },
                               {}});
  };
  REQUIRE(with([] {}));
  std::function<void()> change;
  std::string name = "b";
  SUBCASE("shorter") {
    change = [&] { fs::resize_file(root / "b", 500'000); };
  }
  SUBCASE("longer") {
    change = [&] { fs::resize_file(root / "b", 700'000); };
  }
  SUBCASE("another byte") {
    change = [&] { flip_bit(root / "b", 1); };
  }
  SUBCASE("replaced") {
    change = [&] {
      write_file(root / "c", random_bytes(600'000, 2));
      fs::rename(root / "c", root / "b");
    };
  }
  SUBCASE("removed") {
    change = [&] { fs::remove(root / "b"); };
  }
  SUBCASE("one that has been read") {
    name = "a";
    change = [&] { flip_bit(root / "a", 1); };
  }
  SUBCASE("a new one") {
    name = "new";
    change = [&] { write_file(root / "new", "abc"); };
  }
  auto result = with(change);
  REQUIRE_FALSE(result);
  CHECK(result.problem().kind == fault::changed);
  CHECK(holds(result.problem().text, name));
  CHECK(holds(result.problem().text, "changed while it was read"));
}

TEST_CASE_FIXTURE(fixture, "what changed before its turn is not read at all") {
  auto root = directory / "model";
  write_file(root / "a", random_bytes(600'000, 1));
  write_file(root / "b", random_bytes(600'000, 2));
  auto calls = 0;
  auto result = make_content(root, {[&](std::uint64_t, std::uint64_t) {
                                      if (++calls == 1)
                                        flip_bit(root / "b", 599'999);
                                    },
                                    {}});
  REQUIRE_FALSE(result);
  CHECK(result.problem().kind == fault::changed);
  CHECK(calls == 3);
}

TEST_CASE_FIXTURE(fixture, "hashing tells how far it is and stops when asked to") {
  write_file(directory / "model", random_bytes(1'000'000, 1));
  std::vector<std::uint64_t> seen;
  std::stop_source source;
  work_control control{[&](std::uint64_t bytes, std::uint64_t total) {
                         CHECK(total == 1'000'000);
                         seen.push_back(bytes);
                         if (seen.size() == 6)
                           source.request_stop();
                       },
                       source.get_token()};
  REQUIRE(make_content(directory / "model", control));
  CHECK(seen == std::vector<std::uint64_t>{262'144, 524'288, 786'432, 1'000'000});
  auto stopped = make_content(directory / "model", control);
  REQUIRE_FALSE(stopped);
  CHECK(stopped.problem().kind == fault::cancelled);
  CHECK(seen.size() == 6);
}

TEST_CASE_FIXTURE(fixture, "a torrent that is not ours to the byte is refused") {
  write_model(directory / "model");
  auto what = made(directory / "model");
  CHECK(read_refusal({what.torrent.data(), what.torrent.size()}).empty());
  CHECK(holds(read_refusal(""), "no torrent"));
  CHECK(holds(read_refusal("de"), "no info"));
  CHECK(holds(read_refusal(replaced(what, "7:privatei1e", "")), "not written as"));
  CHECK(holds(read_refusal(replaced(what, "7:privatei1e", "7:privatei1e6:source3:abc")), "not written as"));
  CHECK(holds(read_refusal(replaced(what, "d4:info", "d8:announce11:http://evil4:info")), "not written as"));
  CHECK(holds(read_refusal(replaced(what, "12:piece lengthi262144e", "12:piece lengthi262145e")), "pieces of 262145"));
  for (std::string size : {"0", "-1", "16384", "8388608", "9223372036854775807", "4611686018427387904"})
    CHECK(holds(read_refusal(replaced(what, "12:piece lengthi262144e", "12:piece lengthi" + size + "e")), "pieces of"));
  for (std::string size : {"-5", "0", "9223372036854775807", "281474976710656"})
    CHECK_FALSE(read_refusal(replaced(what, "6:lengthi13e", "6:lengthi" + size + "e")).empty());
  CHECK_FALSE(read_refusal(replaced(what, "11:config.json", "11:../fig.json")).empty());
  CHECK_FALSE(read_refusal(replaced(what, "11:config.json", "2:..")).empty());
  CHECK_FALSE(read_refusal(replaced(what, "11:config.json", "11:/onfig.json")).empty());
  CHECK_FALSE(read_refusal(replaced(what, "4:name64:", "4:name64:../")).empty());
  CHECK_FALSE(read_refusal(replaced(what, "4:attr1:x", "4:attr1:p")).empty());
  CHECK_FALSE(read_refusal(replaced(what, "4:attr1:x", "4:attr1:l12:symlink pathl6:passwde")).empty());
  CHECK_FALSE(read_refusal(replaced(what, "12:meta versioni2e", "12:meta versioni1e")).empty());
  CHECK(holds(
      read_refusal(replaced(what, "12:piece lengthi262144e", "12:piece lengthi262144e6:pieces20:aaaaaaaaaaaaaaaaaaaa")),
      "v1"));
  auto layers = replaced(what, "12:piece layersd", "12:piece layersd");
  layers.resize(layers.find("12:piece layersd"));
  CHECK_FALSE(read_refusal(layers + "e").empty());
  CHECK_FALSE(read_refusal(layers + "12:piece layersdee").empty());
  CHECK(holds(read_refusal(std::string(torrent_bytes_max + 1, 'd')), "at most"));
  CHECK_FALSE(read_refusal(std::string(100'000, 'd')).empty());
  CHECK_FALSE(read_refusal(std::string(100'000, 'l')).empty());
}

TEST_CASE("pieces without end are refused before room is made for them") {
  content what;
  what.piece_size = piece_size_min;
  what.files.push_back({"a", std::uint64_t{piece_size_min} * (pieces_max + 1ULL), {}, false, 0, pieces_max + 1});
  what.files[0].root[0] = 1;
  what.piece_hashes.resize(pieces_max + 1);
  encode_torrent(what);
  CHECK_FALSE(read_refusal({what.torrent.data(), what.torrent.size()}).empty());
}

TEST_CASE("too many files are refused") {
  content what;
  what.piece_size = piece_size_min;
  for (std::size_t i = 0; i <= files_max; ++i)
    what.files.push_back({std::to_string(1'000'000 + i), 0, {}, false, 0, 0});
  encode_torrent(what);
  CHECK_FALSE(read_refusal({what.torrent.data(), what.torrent.size()}).empty());
}

TEST_CASE("thousands of names that differ in case alone are refused before libtorrent renames them one by one") {
  content what;
  what.piece_size = piece_size_min;
  std::string prefix;
  SUBCASE("of files") {}
  SUBCASE("of files in a directory") {
    prefix = "directory/";
  }
  // Upper case first: the order of a content.
  for (std::uint32_t i = 0; i < 8192; ++i) {
    std::string name = "abcdefghijklm";
    for (std::uint32_t bit = 0; bit < 13; ++bit)
      if ((i >> (12 - bit) & 1U) == 0)
        name[bit] = static_cast<char>(name[bit] - 'a' + 'A');
    what.files.push_back({prefix + name, 0, {}, false, 0, 0});
  }
  encode_torrent(what);
  CHECK(holds(read_refusal({what.torrent.data(), what.torrent.size()}),
              "ABCDEFGHIJKLM and " + prefix + "ABCDEFGHIJKLm differ in nothing but case"));
}

TEST_CASE_FIXTURE(fixture, "names are refused by what is wrong with them, before libtorrent sees them") {
  write_model(directory / "model");
  auto what = made(directory / "model");
  auto named = [&](std::string_view name) {
    return read_refusal(replaced(what, "11:config.json", std::to_string(name.size()) + ":" + std::string{name}));
  };
  CHECK(holds(named("EMPTY"), "EMPTY and empty differ in nothing but case"));
  // A directory and a file.
  CHECK(holds(named("A"), "differ in nothing but case"));
  CHECK(holds(named(".."), "no \"..\""));
  CHECK(holds(named("a/../b"), "has a slash"));
  CHECK(holds(named("x\\y"), "backslash"));
  CHECK(holds(named("x\xE2\x80\xAEy"), "direction of writing"));
  CHECK(holds(named("x\xE9y"), "not UTF-8"));
  CHECK(holds(named(std::string(241, 'c')), "at most 240 bytes"));
  CHECK(holds(named(""), "is neither"));
}

TEST_CASE_FIXTURE(fixture, "directories may differ in case alone as long as their files do not") {
  write_file(directory / "model" / "a" / "x", "abc");
  write_file(directory / "model" / "A" / "y", "abc");
  CHECK(made(directory / "model").files.size() == 2);
  write_file(directory / "model" / "A" / "X", "abc");
  CHECK(holds(refusal(directory / "model").text, "differ in nothing but case"));
}

TEST_CASE_FIXTURE(fixture, "of 20,000 mutated torrents none is taken for good and none does harm") {
  write_model(directory / "model");
  auto what = made(directory / "model");
  std::mt19937_64 random{7};
  auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
  for (auto i = 0; i < 20'000; ++i) {
    auto torrent = what.torrent;
    for (auto changes = 1 + below(4); changes > 0 && !torrent.empty(); --changes)
      switch (below(5)) {
      case 0:
        torrent[below(torrent.size())] ^= static_cast<char>(1U << below(8));
        break;
      case 1:
        torrent[below(torrent.size())] = "0123456789:deilx"[below(16)];
        break;
      case 2:
        torrent.erase(torrent.begin() + static_cast<std::ptrdiff_t>(below(torrent.size())));
        break;
      case 3: {
        auto at = below(torrent.size());
        auto length = std::min(below(40), torrent.size() - at);
        std::vector<char> part(torrent.begin() + static_cast<std::ptrdiff_t>(at),
                               torrent.begin() + static_cast<std::ptrdiff_t>(at + length));
        torrent.insert(torrent.begin() + static_cast<std::ptrdiff_t>(below(torrent.size())), part.begin(), part.end());
        break;
      }
      case 4:
        torrent.resize(std::max<std::size_t>(1, below(torrent.size())));
        break;
      }
    // A change may undo another, or make another content: a byte of a name, say.  That one has another address.
    auto result = read_content(torrent);
    if (result && torrent != what.torrent)
      CHECK(result->address != what.address);
  }
}

TEST_CASE("addresses are read as they are written, and nothing else is") {
  CHECK(rc::check("", [](const digest& bytes) {
    content_address address{bytes};
    RC_ASSERT(parse_address(to_string(address)) == address);
  }));
  auto text = std::string(64, 'a');
  CHECK(parse_address(text));
  CHECK_FALSE(parse_address(text + "a"));
  CHECK_FALSE(parse_address(std::string(63, 'a')));
  CHECK_FALSE(parse_address(std::string(64, 'A')));
  CHECK_FALSE(parse_address(std::string(63, 'a') + "/"));
}
