#pragma once

#include "config/naming.hpp"
#include "messages/wire/transfer.pb.h"
#include "runtime/gateway/model_wish.hpp"
#include "runtime/transfer/name_book.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace astra {

/// A content as all trackers together know it.
struct model_content {
  std::uint64_t size_bytes = 0;
  std::uint32_t pieces = 0;
  /// Nodes that have all of it, and that fetch it.
  std::uint32_t complete = 0;
  std::uint32_t fetching = 0;
  /// Of all pieces of those that fetch, the share that is there; in [0, 1].
  double progress = 0.0;
  /// Pieces that no node has.
  std::uint32_t missing = 0;
  /// By node.
  std::map<std::string, pb::SwarmHolder> holders;
};

/// Why something cannot be done.
struct model_refusal {
  /// Name of an errc, or a code of the HTTP API.
  std::string code;
  std::string message;
};

template <class T>
using model_result = std::variant<T, model_refusal>;

/// What the trackers of a cluster know, put together: each answers for some contents and names and hears of all
/// members.
///
/// A plain class.
class model_book {
public:
  void add(const pb::SwarmPage& page);
  /// A tracker that said nothing, and why.
  void add_silent(std::string address, std::string reason);

  /// Tells which content is meant.  Fails with unknown_name, and with unavailable when whoever would know says nothing.
  model_result<pb::ContentName> find(const content_reference& wanted) const;
  /// All versions of a name, those that were removed too, ascending; fails as `find` when all were removed.
  model_result<std::vector<pb::ContentName>> versions(const std::string& name) const;

  /// The node that publishes: the one that is named, else the one on `machine` with the least in its store.
  /// Fails with unknown_node, and with conflict when none is on that machine.
  model_result<pb::SwarmMember> publisher(const model_wish& wish) const;

  /// The nodes that are to fetch a content, by name.  A count takes those that have it or fetch it already first, then
  /// of every zone in turn the one with the least in its store.  Fails with unknown_node, conflict.
  model_result<std::vector<std::string>> fetchers(const model_nodes& wish, const pb::ContentName& name) const;

  /// Those that are named, else all that hold any of a content.  Fails with unknown_node, conflict.
  model_result<std::vector<std::string>> holders(const model_nodes& wish, const pb::ContentName& name) const;

  /// Who is to forget a name: all holders of its content, and a few others when they are less than `least`.
  std::vector<std::string> witnesses(const pb::ContentName& name, std::size_t least) const;

  /// Ascending by name and version, removed ones too.
  std::vector<pb::ContentName> names() const { return names_.list(); }
  bool is_newest(const pb::ContentName& name) const;
  /// Null: no member reports any of it.
  const model_content* content(const std::string& address) const;
  /// Null: no tracker hears of it.
  const pb::SwarmMember* member(const std::string& node) const;
  std::size_t member_count() const { return members_.size(); }
  /// By name.
  const std::map<std::string, pb::SwarmMember>& members() const { return members_; }
  const pb::SwarmLimit& limit() const { return limit_; }
  /// Trackers that said nothing, by address, and why.
  const std::map<std::string, std::string>& silent() const { return silent_; }
  /// Of those that answered, one may not have heard of all yet.
  bool settling() const { return settling_; }
  /// Holders and members that did not fit.
  std::uint32_t left_out() const { return left_out_; }
  bool answered() const { return pages_ > 0; }
  /// "127.0.0.1:1: refused; ..." of the silent ones.
  std::string why_silent() const;

private:
  /// Why a name or version may be missing although there is one.
  std::string doubt() const;
  model_refusal not_found(std::string message) const;
  model_refusal unknown_node(const std::string& node) const;
  /// The same nodes; fails with unknown_node when one is no member.
  model_result<std::vector<std::string>> checked(const std::vector<std::string>& nodes) const;

  name_book names_;
  std::map<std::string, model_content> contents_;
  std::map<std::string, pb::SwarmMember> members_;
  pb::SwarmLimit limit_;
  std::map<std::string, std::string> silent_;
  std::size_t pages_ = 0;
  std::uint32_t left_out_ = 0;
  bool settling_ = false;
};

} // namespace astra
