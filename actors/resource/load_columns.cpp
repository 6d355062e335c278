#include "actors/resource/load_columns.hpp"

#include <bit>
#include <string>
#include <utility>

namespace astra {
namespace {

constexpr auto done_column = static_cast<std::size_t>(node_load::column::done);
constexpr auto failed_column = static_cast<std::size_t>(node_load::column::failed);
/// Fields and lengths of one message.
constexpr std::size_t frame_bytes = 48;

bool has(std::uint8_t columns, std::size_t i) {
  return (columns >> i & 1U) != 0;
}

std::size_t varint_bytes(std::uint64_t value) {
  return static_cast<std::size_t>(std::bit_width(value | 1) + 6) / 7;
}

const std::string& bytes_of(const pb::LoadColumns& columns, std::size_t i) {
  switch (i) {
  case 0:
    return columns.utilisation();
  case 1:
    return columns.own_busy();
  case 2:
    return columns.concurrency();
  case 3:
    return columns.memory();
  case 4:
    return columns.running();
  default:
    return columns.queued();
  }
}

std::string& bytes_of(pb::LoadColumns& columns, std::size_t i) {
  switch (i) {
  case 0:
    return *columns.mutable_utilisation();
  case 1:
    return *columns.mutable_own_busy();
  case 2:
    return *columns.mutable_concurrency();
  case 3:
    return *columns.mutable_memory();
  case 4:
    return *columns.mutable_running();
  default:
    return *columns.mutable_queued();
  }
}

} // namespace

std::size_t column_bytes(const node_load& load, std::uint8_t columns) {
  // The byte that says which, and what names the slot at worst.
  auto result = 1 + sizeof(std::uint32_t) + static_cast<std::size_t>(std::popcount(columns));
  if (has(columns, done_column))
    result += varint_bytes(load.done);
  if (has(columns, failed_column))
    result += varint_bytes(load.failed);
  return result;
}

void load_columns_writer::add(std::uint32_t slot, const node_load& load, std::uint8_t columns) {
  if (slots_.empty())
    bytes_ = frame_bytes;
  bytes_ += column_bytes(load, columns);
  slots_.push_back(slot);
  columns_.mutable_columns()->push_back(static_cast<char>(columns));
  for (std::size_t i = 0; i < node_load::byte_columns; ++i)
    if (has(columns, i))
      bytes_of(columns_, i).push_back(static_cast<char>(load.bytes[i]));
  if (has(columns, done_column))
    columns_.add_done(load.done);
  if (has(columns, failed_column))
    columns_.add_failed(load.failed);
}

pb::LoadColumns load_columns_writer::finish() {
  auto first = slots_.front();
  columns_.set_first(first);
  std::size_t gap_bytes = 0;
  auto before = first;
  for (auto slot : slots_)
    gap_bytes += varint_bytes(slot - std::exchange(before, slot));
  auto bitmap_bytes = (slots_.back() - first) / 8 + 1;
  if (bitmap_bytes <= gap_bytes) {
    auto& present = *columns_.mutable_present();
    present.assign(bitmap_bytes, '\0');
    for (auto slot : slots_)
      present[(slot - first) / 8] = static_cast<char>(present[(slot - first) / 8] | 1 << (slot - first) % 8);
  } else {
    before = first;
    for (auto slot : slots_)
      columns_.add_gaps(slot - std::exchange(before, slot));
  }
  slots_.clear();
  bytes_ = 0;
  return std::exchange(columns_, {});
}

void told_load::apply_to(node_load& load) const {
  for (std::size_t i = 0; i < node_load::byte_columns; ++i)
    if (has(columns, i))
      load.bytes[i] = values.bytes[i];
  if (has(columns, done_column))
    load.done = values.done;
  if (has(columns, failed_column))
    load.failed = values.failed;
}

load_columns_reader::load_columns_reader(const pb::LoadColumns& columns) : columns_(columns), slot_(columns.first()) {
  std::array<std::size_t, node_load::columns> needed{};
  for (auto byte : columns.columns())
    for (std::size_t i = 0; i < needed.size(); ++i)
      needed[i] += has(static_cast<std::uint8_t>(byte), i) ? 1 : 0;
  auto slots = static_cast<std::size_t>(columns.gaps_size());
  for (auto byte : columns.present())
    slots += static_cast<std::size_t>(std::popcount(static_cast<unsigned char>(byte)));
  valid_ = slots == columns.columns().size() && (columns.present().empty() || columns.gaps().empty())
           && needed[done_column] == static_cast<std::size_t>(columns.done_size())
           && needed[failed_column] == static_cast<std::size_t>(columns.failed_size());
  for (std::size_t i = 0; i < node_load::byte_columns; ++i)
    valid_ = valid_ && needed[i] == bytes_of(columns, i).size();
}

bool load_columns_reader::next_slot(std::uint32_t& slot) {
  if (columns_.present().empty()) {
    slot_ += columns_.gaps(static_cast<int>(read_));
    slot = slot_;
    return true;
  }
  auto& present = columns_.present();
  for (; bits_ < present.size() * 8; ++bits_)
    if ((static_cast<unsigned char>(present[bits_ / 8]) >> bits_ % 8 & 1U) != 0) {
      slot = slot_ + static_cast<std::uint32_t>(bits_++);
      return true;
    }
  return false;
}

bool load_columns_reader::next(told_load& result) {
  if (read_ == columns_.columns().size() || !next_slot(result.slot))
    return false;
  result.columns = static_cast<std::uint8_t>(columns_.columns()[read_++]);
  for (std::size_t i = 0; i < node_load::byte_columns; ++i)
    if (has(result.columns, i))
      result.values.bytes[i] = static_cast<std::uint8_t>(bytes_of(columns_, i)[at_[i]++]);
  if (has(result.columns, done_column))
    result.values.done = columns_.done(static_cast<int>(at_[done_column]++));
  if (has(result.columns, failed_column))
    result.values.failed = columns_.failed(static_cast<int>(at_[failed_column]++));
  return true;
}

} // namespace astra
