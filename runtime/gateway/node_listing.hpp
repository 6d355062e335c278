#pragma once

#include "messages/http_exchange.hpp"
#include "runtime/gateway/resource_link.hpp"

#include <caf/actor.hpp>
#include <caf/fwd.hpp>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace astra {

/// GET /v1/nodes as its query says it.
struct node_listing_request {
  std::string where;
  /// 0: all.
  std::uint32_t limit = 0;
  /// Lines of JSON, the last of which says that the listing is complete; else one JSON object.
  bool lines = false;
};

/// Reads the query of a target.  @returns what is wrong, with the cure, when something is.
std::variant<node_listing_request, std::string> read_node_listing(const std::string& target);

/// Answers one listing, page by page as its client takes them: never more than one page is held here.  Of each Resource
/// group the first Resource that answers is asked for all pages.  Ends with its answer, or when the client leaves.
/// When a page fails, or a group does not answer, so does the listing, after all others: lines end in {"error":...},
/// and the answer is cut.
/// @param groups Addresses of the Resources of each group.
caf::actor spawn_node_listing(caf::local_actor* parent, resource_links links,
                              std::vector<std::vector<std::string>> groups, node_listing_request request,
                              http_exchange_ptr exchange);

} // namespace astra
