#pragma once

#include "messages/ids.hpp"
#include "messages/wire/app.pb.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace astra {

/// What a node offers and which claim holds how much of it.  Never hands out more than there is, but for what `replace`
/// promises of the holders that are to go: until they have gone, less than nothing is free.
class capacity_book {
public:
  explicit capacity_book(const pb::Resources& capacity);

  /// Why `wanted` does not fit now, such as "needs 4 cores, 1.5 free"; nothing when it fits.
  std::optional<std::string> misfit(const pb::Resources& wanted) const;

  /// The same for when these holders have gone.
  std::optional<std::string> misfit_without(const std::vector<claim_token>& gone, const pb::Resources& wanted) const;

  /// Takes what is there when others have gone.
  /// @pre `misfit_without` them is nothing and `token` holds nothing yet.
  void replace(claim_token token, const pb::Resources& wanted);

  /// @pre `misfit(wanted)` is nothing and `token` holds nothing yet.
  void take(claim_token token, const pb::Resources& wanted);

  /// A token that holds nothing is ignored.
  void give_back(claim_token token);

  /// Accelerators sorted by kind.
  pb::Resources free() const;

private:
  struct amounts {
    explicit amounts(const pb::Resources& resources);
    std::int64_t cpu_milli = 0;
    std::int64_t memory_bytes = 0;
    std::map<std::string, std::int64_t> accelerators;

    void add(const amounts& other);
    void subtract(const amounts& other);
  };

  static std::optional<std::string> why_not(const amounts& free, const pb::Resources& wanted);

  amounts free_;
  std::map<claim_token, amounts> holders_;
};

} // namespace astra
