// A Node for another processor, as the npm package node-linux-ARCH has it.
import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const cache = fileURLToPath(new URL('../../.cache/node', import.meta.url))

/**
 * The path of a Node, which is fetched once.
 *
 * @param {string} version
 * @param {string} arch as process.arch has it
 * @returns {Promise<string>}
 */
export async function fetchNode(version, arch) {
  const folder = path.join(cache, `${version}-${arch}`)
  const node = path.join(folder, 'package/bin/node')
  const there = await access(node).then(
    () => true,
    () => false,
  )
  if (there) return node

  const name = `node-linux-${arch}`
  await mkdir(cache, { recursive: true })
  // Unpacked beside its place and moved there whole, so that what is there is complete.
  const scratch = await mkdtemp(path.join(cache, 'fetch-'))
  try {
    await run('npm', ['pack', '--silent', '--pack-destination', scratch, `${name}@${version}`])
    await run('tar', ['-xzf', `${name}-${version}.tgz`], { cwd: scratch })
    await rm(path.join(scratch, `${name}-${version}.tgz`))
    await rm(folder, { recursive: true, force: true })
    await rename(scratch, folder)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
  return node
}
