import { defineConfig } from 'vitest/config'
import { PATIENCE, patient } from './test/helpers/patience.mjs'
import { filesOn } from './test/kernel/suite.mjs'

// The workers need not measure it again.
process.env.IPVS_PATIENCE = String(PATIENCE)
// Commands that tests start must not write into the home of whoever runs them.
process.env.IPVS_HISTORY = 'off'

/**
 * The suite that needs a real kernel with ip_vs, and root there:
 * `npm run test:kernel`, and `npm run test:kernel -- test/kernel/config.test.ts`.
 *
 * One process and one worker: starting is most of what vitest costs in a guest.
 * Every test has network namespaces of its own, so files need no isolation.
 */
export default defineConfig({
  test: {
    // A kernel without the module is another machine: scripts/test.mjs boots one.
    include:
      process.env.IPVS_MODULE === 'absent'
        ? ['test/kernel/absent/*.test.ts']
        : filesOn(process.env.IPVS_GUEST ?? '6.1'),
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    isolate: false,
    // Only what hangs may reach this.
    testTimeout: patient(60_000),
    hookTimeout: patient(60_000),
    // A line for each test: a guest in which nothing is said for long is ended.
    reporters: ['verbose'],
  },
})
