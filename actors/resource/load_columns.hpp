#pragma once

#include "actors/resource/node_load.hpp"
#include "messages/wire/view.pb.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace astra {

/// A whole load.
inline constexpr std::uint8_t all_columns = 0xff;

/// Makes pb::LoadColumns of loads that come in ascending order of their slots.  Whatever is shorter names the slots: a
/// bitmap of those between the first and the last, or the distances.
class load_columns_writer {
public:
  /// @param columns Those that are told, bit i for column i; at least one.
  void add(std::uint32_t slot, const node_load& load, std::uint8_t columns);

  std::size_t size() const { return slots_.size(); }
  /// Upper bound of what `finish` makes.
  std::size_t bytes() const { return bytes_; }

  /// @pre not empty.  The writer is empty then.
  pb::LoadColumns finish();

private:
  pb::LoadColumns columns_;
  std::vector<std::uint32_t> slots_;
  std::size_t bytes_ = 0;
};

/// Bytes that `columns` of a load take at most, the naming of its slot included.
std::size_t column_bytes(const node_load& load, std::uint8_t columns);

/// One slot of pb::LoadColumns.
struct told_load {
  std::uint32_t slot = 0;
  std::uint8_t columns = 0;
  /// The values of `columns`; others are 0.
  node_load values;

  /// Takes over what is told.
  void apply_to(node_load& load) const;
};

/// Reads pb::LoadColumns one slot after the other.
class load_columns_reader {
public:
  explicit load_columns_reader(const pb::LoadColumns& columns);

  /// False when columns are missing or there are more values than slots: nothing of it is to be believed.
  bool valid() const { return valid_; }

  /// @returns false after the last one.  @pre valid
  bool next(told_load& result);

private:
  bool next_slot(std::uint32_t& slot);

  const pb::LoadColumns& columns_;
  bool valid_ = false;
  /// Slots that were read.
  std::size_t read_ = 0;
  std::uint32_t slot_ = 0;
  /// Bits of `present` that were looked at.
  std::size_t bits_ = 0;
  std::array<std::size_t, node_load::columns> at_{};
};

} // namespace astra
