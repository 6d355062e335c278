#pragma once

#include "actors/random.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace astra {

/// When an address that failed may be dialled again: decorrelated jitter ("Exponential Backoff And Jitter", AWS
/// Architecture Blog 2015), from `least` to `most`.  Short: a peer that is back should have its sessions again within a
/// second.  Plain: time and randomness are arguments.
class dial_backoff {
public:
  using time_point = std::chrono::steady_clock::time_point;
  using milliseconds = std::chrono::milliseconds;

  explicit dial_backoff(std::uint64_t seed, milliseconds least = milliseconds{50},
                        milliseconds most = milliseconds{800})
    : random_(seed), least_(least), most_(most) {}

  /// Time to wait before the address is dialled.
  milliseconds wait(const std::string& address, time_point now) const {
    auto found = peers_.find(address);
    if (found == peers_.end() || found->second.next <= now)
      return milliseconds{0};
    return std::chrono::ceil<milliseconds>(found->second.next - now);
  }

  /// @param at_least what the peer asked for.
  void failed(const std::string& address, time_point now, milliseconds at_least = milliseconds{0}) {
    // Addresses that are tried no more must not fill the memory of a process that lives for years.
    std::erase_if(peers_, [&](auto& entry) { return now - entry.second.next > std::chrono::minutes{1}; });
    auto& peer = peers_.try_emplace(address, record{least_, now}).first->second;
    auto span = static_cast<std::uint64_t>(std::max(peer.last * 3 - least_, milliseconds{1}).count());
    peer.last = std::min(most_, least_ + milliseconds{static_cast<std::int64_t>(random_.below(span))});
    peer.next = now + std::max(peer.last, at_least);
  }

  void succeeded(const std::string& address) { peers_.erase(address); }

private:
  struct record {
    milliseconds last;
    time_point next;
  };

  random_source random_;
  milliseconds least_;
  milliseconds most_;
  std::map<std::string, record> peers_;
};

} // namespace astra
