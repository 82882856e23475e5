import { defineConfig } from 'vitest/config'

/** Everything that needs no ip_vs. test/kernel has a configuration of its own, since it runs in a guest. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/kernel/**'],
    testTimeout: 20_000,
    // Some build the library first, on machines that do other things too.
    hookTimeout: 60_000,
    reporters: ['default'],
  },
})
