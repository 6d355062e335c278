#include "actors/resource/posting_list.hpp"

#include <algorithm>
#include <iterator>

namespace astra {
namespace {

/// 4 KiB: what has to move for a node in the middle, as seldom as a list of a million has to be told of a new piece.
constexpr std::size_t chunk_max = 512;

template <class Chunks>
auto find_chunk(Chunks& chunks, node_id id) {
  auto behind = std::upper_bound(chunks.begin(), chunks.end(), id,
                                 [](node_id wanted, auto& chunk) { return wanted < chunk.front(); });
  return behind == chunks.begin() ? behind : std::prev(behind);
}

} // namespace

std::vector<posting_list::chunk>::iterator posting_list::chunk_of(node_id id) {
  return find_chunk(chunks_, id);
}

std::vector<posting_list::chunk>::const_iterator posting_list::chunk_of(node_id id) const {
  return find_chunk(chunks_, id);
}

bool posting_list::insert(node_id id) {
  if (chunks_.empty()) {
    chunks_.push_back({id});
    ++size_;
    return true;
  }
  // Snapshots come in order: what is behind all others begins a new piece, and the full one stays full.
  if (id > chunks_.back().back()) {
    if (chunks_.back().size() < chunk_max)
      chunks_.back().push_back(id);
    else
      chunks_.push_back({id});
    ++size_;
    return true;
  }
  auto into = chunk_of(id);
  auto place = std::lower_bound(into->begin(), into->end(), id);
  if (place != into->end() && *place == id)
    return false;
  if (into->size() == chunk_max) {
    auto middle = into->begin() + chunk_max / 2;
    chunk upper(middle, into->end());
    into->erase(middle, into->end());
    into->shrink_to_fit();
    into = chunks_.insert(std::next(into), std::move(upper));
    if (id < into->front())
      --into;
    place = std::lower_bound(into->begin(), into->end(), id);
  }
  into->insert(place, id);
  ++size_;
  return true;
}

bool posting_list::erase(node_id id) {
  if (chunks_.empty())
    return false;
  auto from = chunk_of(id);
  auto place = std::lower_bound(from->begin(), from->end(), id);
  if (place == from->end() || *place != id)
    return false;
  from->erase(place);
  --size_;
  if (from->empty())
    chunks_.erase(from);
  return true;
}

bool posting_list::contains(node_id id) const {
  if (chunks_.empty())
    return false;
  auto in = chunk_of(id);
  return std::binary_search(in->begin(), in->end(), id);
}

node_id posting_list::next(node_id after) const {
  if (chunks_.empty())
    return {};
  auto in = chunk_of(after);
  auto place = std::upper_bound(in->begin(), in->end(), after);
  if (place != in->end())
    return *place;
  ++in;
  return in == chunks_.end() ? node_id{} : in->front();
}

void posting_union::add(const posting_list& list) {
  if (!list.empty() && std::find(lists_.begin(), lists_.end(), &list) == lists_.end())
    lists_.push_back(&list);
}

void posting_union::add(const posting_union& other) {
  for (auto list : other.lists_)
    add(*list);
  other.single_.each([this](node_id id) { single_.insert(id); });
}

node_id posting_union::next(node_id after) const {
  auto first = single_.next(after);
  for (auto list : lists_)
    if (auto id = list->next(after); id && (!first || id < first))
      first = id;
  return first;
}

std::size_t posting_union::size_max() const {
  auto result = single_.size();
  for (auto list : lists_)
    result += list->size();
  return result;
}

} // namespace astra
