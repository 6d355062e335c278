#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace astra {

/// Who waits for a slot, and in which order they get their chance: fair among clients by what each was served (fair
/// queueing after Demers, Keshav and Shenker, SIGCOMM 1989, with requests of equal size), and in order of arrival among
/// the requests of one.  Of a single client it is first come, first served.
///
/// Places are counted as well.  When all are taken, whoever has the most gives his youngest to a client that has at
/// least two fewer.
///
/// Requests are numbers that grow with their arrival.  A plain class.
class fair_queue {
public:
  using request = std::uint64_t;

  /// A request takes a place: it waits here, or in the queue of a node.
  void take_place(const std::string& client, request who);
  /// @param served it got what it waited for.
  void give_back(const std::string& client, request who, bool served);

  std::size_t places() const { return places_; }
  std::size_t places_of(const std::string& client) const;

  /// One that has a place waits here.
  void park(const std::string& client, request who);
  bool is_parked(const std::string& client, request who) const;
  std::size_t parked() const { return parked_; }
  /// In order of arrival.
  std::set<request> all_parked() const;

  /// Those that are let go in one round and come back do not get another chance in it.
  void begin_round() { ++round_; }
  /// The next one that is let go; it is no longer parked.
  std::optional<request> next();

  /// Who is to give a place to a request of `client` when there is none left; empty: nobody.
  /// @param can whether a request can be sent away.
  std::optional<request> to_give_way(const std::string& client, const std::function<bool(request)>& can) const;

private:
  struct account {
    /// Those with a place, and those of them that are parked.
    std::set<request> waiting;
    std::set<request> parked;
    /// Turns that it was served, as if it had been there from the beginning and had had its share.
    std::uint64_t served = 0;
    // Of the round under way.
    std::uint64_t round = 0;
    request up_to = 0;
    std::uint64_t let_go = 0;
  };

  void forget_idle();

  /// What those who are served now had been served before.
  std::uint64_t now_ = 0;
  std::uint64_t round_ = 1;
  std::size_t places_ = 0;
  std::size_t parked_ = 0;
  std::map<std::string, account> clients_;
};

} // namespace astra
