#pragma once

#include "messages/type_ids.hpp"

#include <caf/result.hpp>
#include <caf/typed_actor.hpp>

namespace astra {

/// A replica of an app of kind "actor": what it must answer.
using app_actor = caf::typed_actor<caf::result<work_result>(work_request)>;

} // namespace astra
