#include "p2p/merkle.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <cassert>

namespace astra::p2p {
namespace {

digest hash_pair(sha256& hash, const digest& left, const digest& right) {
  std::array<digest, 2> both{left, right};
  return hash(std::as_bytes(std::span{both}));
}

} // namespace

sha256::sha256() : algorithm_(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(EVP_MD_CTX_new()) {
  assert(algorithm_ && context_);
}

sha256::~sha256() {
  EVP_MD_CTX_free(context_);
  EVP_MD_free(algorithm_);
}

digest sha256::operator()(std::span<const std::byte> data) {
  digest result;
  auto good = EVP_DigestInit_ex2(context_, algorithm_, nullptr) == 1
              && EVP_DigestUpdate(context_, data.data(), data.size()) == 1
              && EVP_DigestFinal_ex(context_, result.data(), nullptr) == 1;
  assert(good);
  return result;
}

digest merkle_root(sha256& hash, std::vector<digest> leaves, std::uint64_t width, const digest& padding) {
  assert(std::has_single_bit(width) && leaves.size() <= width);
  auto absent = padding;
  for (; width > 1; width /= 2) {
    if (leaves.size() % 2 == 1)
      leaves.push_back(absent);
    for (std::size_t i = 0; i < leaves.size() / 2; ++i)
      leaves[i] = hash_pair(hash, leaves[2 * i], leaves[2 * i + 1]);
    leaves.resize(leaves.size() / 2);
    absent = hash_pair(hash, absent, absent);
  }
  return leaves.empty() ? absent : leaves.front();
}

digest hash_piece(sha256& hash, std::span<const std::byte> data, std::uint64_t width) {
  std::vector<digest> leaves;
  leaves.reserve(data.size() / block_size + 2);
  for (std::size_t at = 0; at < data.size(); at += block_size)
    leaves.push_back(hash(data.subspan(at, std::min<std::size_t>(block_size, data.size() - at))));
  return merkle_root(hash, std::move(leaves), width);
}

std::uint64_t small_file_width(std::uint64_t size) {
  return std::bit_ceil((size + block_size - 1) / block_size);
}

digest file_root(sha256& hash, const std::vector<digest>& pieces, std::uint64_t piece_width) {
  auto padding = merkle_root(hash, {}, piece_width);
  return merkle_root(hash, pieces, std::bit_ceil(pieces.size()), padding);
}

} // namespace astra::p2p
