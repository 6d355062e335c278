#include "runtime/tasks/task.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace astra {
namespace {

constexpr std::array<std::string_view, 6> state_names = {"queued", "running", "done", "failed", "cancelled", "expired"};

constexpr std::size_t word_digits = 16;

} // namespace

std::string to_string(task_state state) {
  return std::string{state_names.at(static_cast<std::size_t>(state))};
}

std::optional<task_state> parse_task_state(std::string_view name) {
  auto found = std::find(state_names.begin(), state_names.end(), name);
  if (found == state_names.end())
    return std::nullopt;
  return static_cast<task_state>(found - state_names.begin());
}

std::string to_string(const task_id& id) {
  return fmt::format("{}.{}.{}", id.gateway, id.number, id.word);
}

std::optional<task_id> parse_task_id(std::string_view text) {
  // The name may have dots of its own.
  auto word_dot = text.rfind('.');
  auto number_dot = word_dot == std::string_view::npos || word_dot == 0 ? word_dot : text.rfind('.', word_dot - 1);
  if (number_dot == std::string_view::npos || number_dot == 0 || number_dot == word_dot)
    return std::nullopt;
  task_id id;
  id.gateway = text.substr(0, number_dot);
  id.word = text.substr(word_dot + 1);
  auto number = text.substr(number_dot + 1, word_dot - number_dot - 1);
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), id.number);
  auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (error != std::errc{} || end != number.data() + number.size() || id.number == 0 || id.word.size() != word_digits
      || !std::all_of(id.word.begin(), id.word.end(), is_hex))
    return std::nullopt;
  return id;
}

std::string task_word(std::string_view secret, task_number number) {
  auto text = std::to_string(number);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size);
  std::string word;
  for (std::size_t i = 0; i < word_digits / 2; ++i)
    word += fmt::format("{:02x}", digest[i]);
  return word;
}

std::uint64_t task_body_hash(std::string_view content_type, std::string_view body) {
  return XXH3_64bits_withSeed(body.data(), body.size(), XXH3_64bits(content_type.data(), content_type.size()));
}

} // namespace astra
