#include "runtime/process/tail_buffer.hpp"

namespace astra {

void tail_buffer::append(std::string_view data) {
  total_ += data.size();
  if (data.size() > capacity_)
    data.remove_prefix(data.size() - capacity_);
  if (data_.size() + data.size() > 2 * capacity_)
    data_.erase(0, data_.size() + data.size() - capacity_);
  data_.append(data);
}

std::string tail_buffer::text() const {
  std::string_view kept = data_;
  if (kept.size() > capacity_)
    kept.remove_prefix(kept.size() - capacity_);
  if (total_ > kept.size()) {
    auto line_end = kept.find('\n');
    if (line_end != std::string_view::npos && line_end + 1 < kept.size())
      kept.remove_prefix(line_end + 1);
  }
  return std::string{kept};
}

} // namespace astra
