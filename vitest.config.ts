import { defineConfig } from 'vitest/config'

/** Everything that needs no ip_vs. test/kernel has a configuration of its own, since it runs in a guest. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/kernel/**'],
    testTimeout: 20_000,
    reporters: ['default'],
  },
})
