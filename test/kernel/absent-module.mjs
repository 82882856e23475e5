#!/usr/bin/env node
// Runs the tests of test/kernel/absent in a guest whose kernel has no ip_vs. Options go to the guest: --kernel 6.12.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { status } = spawnSync(
  process.execPath,
  [
    path.join(root, 'test/guest/guest.mjs'),
    ...process.argv.slice(2),
    ...['--absent-module', '--env', 'IPVS_MODULE=absent', '--'],
    ...[
      'node',
      path.join(root, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--config',
      'vitest.kernel.config.ts',
    ],
  ],
  { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] },
)
process.exitCode = status ?? 1
