#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace astra {

/// The order in which waiting requests get their chance, fair among their clients: by start-time fair queueing
/// (Goyal, Vin and Cheng, SIGCOMM 1996) with requests of equal size.  Each client's own requests go in order of
/// arrival; one who sends many waits behind those who send few.  Of clients that all come with one request, and of a
/// single one, it is first come, first served.
///
/// Places are counted as well.  When all are taken, whoever has the most gives his youngest to a client that has at
/// least two fewer.
///
/// A plain class.
class fair_queue {
public:
  /// Of a request: in ascending order it is its turn.  Stays the same however often it comes back.
  struct turn {
    std::uint64_t start = 0;
    /// Grows with every request.
    std::uint64_t arrival = 0;

    auto operator<=>(const turn&) const = default;
  };

  /// A request comes and takes a place.
  turn enter(const std::string& client, std::uint64_t arrival);
  /// It gives its place back.
  /// @param served it got what it waited for.
  void leave(const std::string& client, const turn& what, bool served);

  std::size_t places() const { return places_; }
  std::size_t places_of(const std::string& client) const;

  /// Who is to give a place to a request of `client` when there is none left; empty: nobody.
  /// @param can whether a request can be sent away.
  std::optional<turn> to_give_way(const std::string& client, const std::function<bool(const turn&)>& can) const;

private:
  struct account {
    std::set<turn> waiting;
    /// Start of its next request, at least.
    std::uint64_t next = 0;
  };

  /// Start of the youngest request that was served.
  std::uint64_t now_ = 0;
  std::size_t places_ = 0;
  std::map<std::string, account> clients_;
};

} // namespace astra
