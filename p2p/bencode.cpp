#include "p2p/bencode.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <string_view>

namespace astra::p2p {
namespace {

void text(std::string& out, std::string_view value) {
  fmt::format_to(std::back_inserter(out), "{}:", value.size());
  out.append(value);
}

void number(std::string& out, std::uint64_t value) {
  fmt::format_to(std::back_inserter(out), "i{}e", value);
}

std::string_view as_text(const digest& value) {
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> result;
  for (std::size_t at = 0; at <= path.size();) {
    auto end = std::min(path.find('/', at), path.size());
    result.push_back(path.substr(at, end - at));
    at = end + 1;
  }
  return result;
}

/// The nested dictionaries of the files, which come in the order of the dictionaries' keys.
std::string file_tree(const std::vector<content_file>& files) {
  std::string out = "d";
  std::vector<std::string_view> open;
  for (auto& file : files) {
    auto parts = parts_of(file.path);
    auto name = parts.back();
    parts.pop_back();
    auto differ = std::mismatch(open.begin(), open.end(), parts.begin(), parts.end());
    out.append(static_cast<std::size_t>(open.end() - differ.first), 'e');
    for (auto part = differ.second; part != parts.end(); ++part) {
      text(out, *part);
      out += 'd';
    }
    open = std::move(parts);
    text(out, name);
    out += "d0:d";
    if (file.executable)
      out += "4:attr1:x";
    out += "6:length";
    number(out, file.size);
    if (file.size > 0) {
      out += "11:pieces root";
      text(out, as_text(file.root));
    }
    out += "ee";
  }
  out.append(open.size() + 1, 'e');
  return out;
}

std::string piece_layers(const content& what) {
  // Files that are alike have one layer.
  std::map<std::string_view, const content_file*> layers;
  for (auto& file : what.files)
    if (file.size > what.piece_size)
      layers.emplace(as_text(file.root), &file);
  std::string out = "d";
  for (auto& [root, file] : layers) {
    text(out, root);
    fmt::format_to(std::back_inserter(out), "{}:", std::size_t{file->pieces} * sizeof(digest));
    for (auto piece = file->first_piece; piece < file->first_piece + file->pieces; ++piece)
      out += as_text(what.piece_hashes[piece]);
  }
  return out + "e";
}

/// @param certificate empty: none.
std::string info_dictionary(const content& what, std::string_view tree, std::string_view certificate) {
  std::string info = "d9:file tree";
  info += tree;
  info += "12:meta version";
  number(info, 2);
  info += "4:name";
  text(info, what.name);
  info += "12:piece length";
  number(info, what.piece_size);
  // Private: peers come from our tracker and from nobody else.
  info += "7:private";
  number(info, 1);
  if (!certificate.empty()) {
    info += "8:ssl-cert";
    text(info, certificate);
  }
  return info + "e";
}

std::vector<char> torrent_of(const content& what, std::string_view info) {
  auto all = fmt::format("d4:info{}12:piece layers{}e", info, piece_layers(what));
  return {all.begin(), all.end()};
}

} // namespace

void encode_torrent(content& what) {
  sha256 hash;
  auto tree = file_tree(what.files);
  what.name = to_string(content_address{hash(std::as_bytes(std::span{tree}))});
  auto info = info_dictionary(what, tree, {});
  what.address = {hash(std::as_bytes(std::span{info}))};
  what.torrent = torrent_of(what, info);
}

std::vector<char> encode_ssl_torrent(const content& what, std::string_view certificate) {
  return torrent_of(what, info_dictionary(what, file_tree(what.files), certificate));
}

} // namespace astra::p2p
