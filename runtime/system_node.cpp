#include "runtime/system_node.hpp"

namespace astra {
namespace {

/// Access checks do not apply to the arguments of an explicit instantiation (C++ standard, [temp.spec] 6), so one of
/// them may hand the pointer to the member out.
template <class Tag, typename Tag::type Member>
struct member_of {
  friend typename Tag::type reach(Tag) { return Member; }
};
struct node_member {
  using type = caf::node_id caf::actor_system::*;
  friend type reach(node_member);
};
template struct member_of<node_member, &caf::actor_system::node_>;

} // namespace

caf::node_id& system_node(caf::actor_system& sys) {
  return sys.*reach(node_member{});
}

} // namespace astra
