import { defineConfig } from 'vitest/config'
import { patient } from './test/helpers/patience.mjs'

/**
 * The suite that needs a real kernel with ip_vs, and root there:
 * `node test/guest/guest.mjs -- npx vitest run --config vitest.kernel.config.ts`.
 *
 * One process and one worker: starting is most of what vitest costs in a guest.
 * Every test has network namespaces of its own, so files need no isolation.
 */
export default defineConfig({
  test: {
    // Hundreds of processes, and listings within a second of each other, are too much for an emulated processor; they
    // say the same on every kernel.
    exclude: process.env.IPVS_GUEST === '6.12' ? ['test/kernel/adm-{listings,programs,callers}.test.ts'] : [],
    // A kernel without the module is another machine: scripts/test.mjs boots one.
    include: [
      process.env.IPVS_MODULE === 'absent' ? 'test/kernel/absent/*.test.ts' : 'test/kernel/*.test.ts',
    ],
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    isolate: false,
    // Only what hangs may reach this.
    testTimeout: patient(60_000),
    hookTimeout: patient(60_000),
    reporters: ['verbose'],
  },
})
