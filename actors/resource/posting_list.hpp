#pragma once

#include "messages/ids.hpp"

#include <cstddef>
#include <vector>

namespace astra {

/// A set of nodes in ascending order of their ids: what an index keeps per value.  A million of them take 8 to 16 bytes
/// each, and one of them comes or goes within a piece of a few kilobytes.  A plain class.
class posting_list {
public:
  /// @returns false when it was there.
  bool insert(node_id id);
  /// @returns false when it was not there.
  bool erase(node_id id);
  bool contains(node_id id) const;

  /// The first one behind `after`, which need not be in the list; none: there is none.
  node_id next(node_id after) const;

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  template <class Visit>
  void each(Visit visit) const {
    for (auto& chunk : chunks_)
      for (auto id : chunk)
        visit(id);
  }

private:
  using chunk = std::vector<node_id>;

  /// The one that has, or would get, the id.  @pre not empty
  std::vector<chunk>::iterator chunk_of(node_id id);
  std::vector<chunk>::const_iterator chunk_of(node_id id) const;

  /// None of them is empty, and each is behind the one before it.
  std::vector<chunk> chunks_;
  std::size_t size_ = 0;
};

/// The nodes of several lists together, each once, in ascending order.  Points into the lists.
class posting_union {
public:
  void add(const posting_list& list);
  void add(node_id id) { single_.insert(id); }
  void add(const posting_union& other);

  /// As posting_list::next.
  node_id next(node_id after) const;

  /// At most so many nodes.
  std::size_t size_max() const;
  std::size_t lists() const { return lists_.size(); }

private:
  std::vector<const posting_list*> lists_;
  posting_list single_;
};

} // namespace astra
