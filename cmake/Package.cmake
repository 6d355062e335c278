# What `cmake --install` puts beside the program for authors of actors: find_package(Astra), docs/actors.md.
# `--component actor` installs this and the program and nothing else.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
include("${PROJECT_SOURCE_DIR}/cmake/package/AstraActor.cmake")
add_library(Astra::actor ALIAS astra_actor_sdk)
set(_package "${CMAKE_INSTALL_LIBDIR}/cmake/Astra")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/package/AstraConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/package/AstraConfig.cmake" INSTALL_DESTINATION "${_package}"
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_BINDIR)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/AstraConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(TARGETS astra_actor_sdk EXPORT AstraTargets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  COMPONENT actor)
install(EXPORT AstraTargets NAMESPACE Astra:: DESTINATION "${_package}" COMPONENT actor)
install(FILES "${PROJECT_BINARY_DIR}/package/AstraConfig.cmake" "${PROJECT_BINARY_DIR}/package/AstraConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/package/AstraActor.cmake" DESTINATION "${_package}" COMPONENT actor)
