# How the addon is built, once for all: node-gyp builds it by this file, and
# scripts/prebuild.mjs reads the sources, defines and flags from it, which is why
# it is JSON with lines of comment. CMakeLists.txt is for Debug and sanitizers.
#
# -nostdlib and runtime.cc: the file names no library and no version of a symbol,
# so that one serves glibc, of any version, and musl. -lgcc is what 32-bit
# processors divide with; it is linked in.
{
  "targets": [
    {
      "target_name": "ipvs",
      "sources": [
        "addon.cc",
        "genl_socket.cc",
        "header_constants.cc",
        "host.cc",
        "message.cc",
        "message_blocks.cc",
        "netlink_socket.cc",
        "netns.cc",
        "runtime.cc"
      ],
      # The headers of node-addon-api: in the package they are beside this file.
      "include_dirs": ["node-addon-api", "../node_modules/node-addon-api"],
      "defines": [
        "NAPI_VERSION=8",
        "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      "variables": { "exports_file": "exports.map" },
      "cflags": [
        "-O2",
        "-Wall",
        "-Wextra",
        "-fPIC",
        "-fvisibility=hidden",
        "-ffunction-sections",
        "-fdata-sections",
        "-fstack-protector-strong",
        "-fno-asynchronous-unwind-tables",
        "-fno-unwind-tables",
        "-U_FORTIFY_SOURCE"
      ],
      # Node's own flags ask for what it was built with, which may be newer than
      # the compiler here.
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": [
        "-std=c++17",
        "-fno-exceptions",
        "-fno-rtti",
        "-fvisibility-inlines-hidden"
      ],
      "ldflags": [
        "-nostdlib",
        "-Wl,--gc-sections",
        "-Wl,--exclude-libs,ALL",
        "-Wl,--version-script=<(module_root_dir)/<(exports_file)",
        "-Wl,-z,noexecstack,-z,relro,-z,now"
      ],
      "libraries": ["-lgcc"]
    }
  ]
}
