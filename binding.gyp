# For node-gyp in the repository. The package has no such file at its root, where
# package managers would take it for something to run.
{
  "includes": ["native/binding.gyp"]
}
