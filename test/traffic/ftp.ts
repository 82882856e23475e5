import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Netns } from '../helpers/kernel.ts'

/** FTP, which says addresses inside its connection. */

const FTP = ['/usr/bin/python3', fileURLToPath(new URL('ftp.py', import.meta.url))]

/** Starts a server, which ends with its host. */
export async function serveFtp(host: Netns, name: string): Promise<void> {
  const server = host.start([...FTP, 'serve', name])
  server.stderr.pipe(process.stderr)
  await once(server.stdout, 'data')
}

/** Gets a file: who sent it, the client as the server sees it, and how many bytes came. */
export async function getFile(
  client: Netns,
  address: string,
  way: 'passive' | 'active',
  withinMs?: number,
): Promise<string> {
  const limit = withinMs === undefined ? [] : [String(withinMs / 1000)]
  return (await client.run([...FTP, 'get', address, way, ...limit])).trim()
}
