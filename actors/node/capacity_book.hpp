#pragma once

#include "messages/ids.hpp"
#include "messages/wire/app.pb.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace astra {

/// What a node offers and which claim holds how much of it.  Never hands out more than there is.
class capacity_book {
public:
  explicit capacity_book(const pb::Resources& capacity);

  /// Why `wanted` does not fit now, such as "needs 4 cores, 1.5 free"; nothing when it fits.
  std::optional<std::string> misfit(const pb::Resources& wanted) const;

  /// @pre `misfit(wanted)` is nothing and `token` holds nothing yet.
  void take(claim_token token, const pb::Resources& wanted);

  /// A token that holds nothing is ignored.
  void give_back(claim_token token);

  /// Accelerators sorted by kind.
  pb::Resources free() const;

private:
  struct amounts {
    explicit amounts(const pb::Resources& resources);
    std::uint64_t cpu_milli = 0;
    std::uint64_t memory_bytes = 0;
    std::map<std::string, std::uint64_t> accelerators;
  };

  amounts free_;
  std::map<claim_token, amounts> holders_;
};

} // namespace astra
