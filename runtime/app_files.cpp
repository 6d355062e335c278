#include "runtime/app_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

namespace astra {
namespace {

caf::error io_error(const std::filesystem::path& path, const char* what) {
  return caf::make_error(errc::io_failed, fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)));
}

/// Closes what it holds.
class descriptor {
public:
  explicit descriptor(int fd) : fd_(fd) {}
  ~descriptor() {
    if (fd_ >= 0)
      ::close(fd_);
  }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  int get() const { return fd_; }

private:
  int fd_;
};

caf::error sync_directory(const std::filesystem::path& directory) {
  descriptor fd{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (fd.get() < 0 || ::fsync(fd.get()) != 0)
    return io_error(directory, "sync");
  return {};
}

class app_files : public app_store {
public:
  explicit app_files(std::filesystem::path directory) : directory_(std::move(directory)) {
    std::error_code ignored; // an unusable directory shows as an error of every save
    std::filesystem::create_directories(directory_, ignored);
  }

  std::vector<pb::AppSpec> load() override {
    std::vector<pb::AppSpec> result;
    std::error_code error;
    for (auto& entry : std::filesystem::directory_iterator{directory_, error}) {
      if (entry.path().extension() != ".json")
        continue;
      std::ifstream in{entry.path(), std::ios::binary};
      std::string text{std::istreambuf_iterator<char>{in}, {}};
      pb::AppSpec spec;
      auto status = google::protobuf::util::JsonStringToMessage(text, &spec);
      if (status.ok() && spec.name() == entry.path().stem().string()) {
        result.push_back(std::move(spec));
        continue;
      }
      auto aside = entry.path().string() + ".broken";
      std::error_code ignored;
      std::filesystem::rename(entry.path(), aside, ignored);
      spdlog::error("apps.unreadable file={} kept_as={} reason=\"{}\"", entry.path().string(), aside,
                    status.ok() ? "the name inside is another one" : status.message().ToString());
    }
    std::sort(result.begin(), result.end(), [](auto& x, auto& y) { return x.name() < y.name(); });
    return result;
  }

  caf::expected<void> save(const pb::AppSpec& spec) override {
    std::string text;
    google::protobuf::util::JsonPrintOptions options;
    options.add_whitespace = true;
    options.preserve_proto_field_names = true;
    if (!google::protobuf::util::MessageToJsonString(spec, &text, options).ok())
      return caf::make_error(errc::invalid_argument, "app " + spec.name() + " is not valid UTF-8");
    auto path = file_of(spec.name());
    auto temporary = path.string() + ".new";
    {
      descriptor fd{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
      if (fd.get() < 0)
        return io_error(temporary, "create");
      for (std::size_t done = 0; done < text.size();) {
        auto n = ::write(fd.get(), text.data() + done, text.size() - done);
        if (n < 0 && errno == EINTR)
          continue;
        if (n < 0)
          return discard(temporary, io_error(temporary, "write"));
        done += static_cast<std::size_t>(n);
      }
      if (::fsync(fd.get()) != 0)
        return discard(temporary, io_error(temporary, "sync"));
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0)
      return discard(temporary, io_error(path, "rename"));
    if (auto error = sync_directory(directory_))
      return error;
    return {};
  }

  caf::expected<void> remove(const std::string& name) override {
    auto path = file_of(name);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
      return io_error(path, "remove");
    if (auto error = sync_directory(directory_))
      return error;
    return {};
  }

private:
  static caf::error discard(const std::string& temporary, caf::error reason) {
    ::unlink(temporary.c_str());
    return reason;
  }

  std::filesystem::path file_of(const std::string& name) const { return directory_ / (name + ".json"); }

  std::filesystem::path directory_;
};

} // namespace

std::unique_ptr<app_store> make_app_files(std::filesystem::path directory) {
  return std::make_unique<app_files>(std::move(directory));
}

} // namespace astra
