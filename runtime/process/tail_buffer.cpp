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
    if (line_end != std::string_view::npos && line_end + 1 < kept.size()) {
      kept.remove_prefix(line_end + 1);
    } else {
      // The rest of a UTF-8 character that was cut: at most three bytes.
      for (int rest = 0; rest < 3 && kept.size() > 1 && (static_cast<unsigned char>(kept.front()) & 0xC0U) == 0x80U;
           ++rest)
        kept.remove_prefix(1);
    }
  }
  return std::string{kept};
}

} // namespace astra
