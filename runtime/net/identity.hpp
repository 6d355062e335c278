#pragma once

#include "config/options.hpp"

#include <caf/expected.hpp>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace astra {

/// What a certificate entitles its holder to.  All but the last two are those of processes.
enum class peer_role : std::uint8_t { node, resource, scheduler, gateway, operator_, viewer, aggregator };

inline constexpr std::array process_peer_roles{peer_role::node, peer_role::resource, peer_role::scheduler,
                                               peer_role::gateway, peer_role::aggregator};

/// The word in certificates and commands: "node", "resource", "scheduler", "gateway", "aggregator", "operator",
/// "viewer".
std::string to_string(peer_role role);
std::optional<peer_role> parse_peer_role(std::string_view word);
peer_role to_peer_role(process_role role);

/// A set of roles.
class peer_roles {
public:
  peer_roles() = default;
  peer_roles(std::initializer_list<peer_role> roles) {
    for (auto role : roles)
      add(role);
  }
  void add(peer_role role) { bits_ |= bit(role); }
  bool has(peer_role role) const { return (bits_ & bit(role)) != 0; }
  bool has_all(peer_roles others) const { return (others.bits_ & ~bits_) == 0; }
  bool has_any(peer_roles others) const { return (others.bits_ & bits_) != 0; }
  bool empty() const { return bits_ == 0; }
  bool operator==(const peer_roles&) const = default;

private:
  static std::uint8_t bit(peer_role role) { return static_cast<std::uint8_t>(1u << static_cast<unsigned>(role)); }
  std::uint8_t bits_ = 0;
};

/// "node,resource"
std::string to_string(peer_roles roles);

/// Who is at the other end of a session.
struct peer_identity {
  std::string cluster;
  std::string name;
  peer_roles roles;
  /// Apps that a scheduler may claim for: names, or beginnings of names that end in '*'.  Empty: all.
  std::vector<std::string> apps;
  /// Nodes that an aggregator may speak for: names, or beginnings of names that end in '*'; "*": all.  An aggregator
  /// has at least one: who speaks for a node decides whether it lives.
  std::vector<std::string> nodes{};

  bool operator==(const peer_identity&) const = default;

  /// Whether `app` is among `apps`.
  bool may_claim_for(std::string_view app) const;

  /// Whether `node` is among `nodes`.
  bool may_speak_for(std::string_view node) const;
};

/// What is wrong with an identity and the cure; empty: nothing.
std::string identity_problem(const peer_identity& identity);

/// The SAN URI of a certificate: "astra://<cluster>/<name>?role=node&role=resource&app=ocr&app=speech-*&node=rack1-*".
/// @pre `identity_problem(identity)` is empty.
std::string to_uri(const peer_identity& identity);

/// Fails with invalid_argument, naming what is wrong: another scheme, no role, an unknown one, a bad name.
caf::expected<peer_identity> parse_identity(std::string_view uri);

} // namespace astra
