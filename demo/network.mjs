// The demo's network: three network namespaces, joined by two pairs of virtual network cards (veth). All of it is inside
// the namespaces, settings like ip_forward too, so it is gone when they are.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { Failure } from './failure.mjs'

const prefix = `ipvs-demo-${process.pid}`

/** Names of the network namespaces. */
export const netns = {
  client: `${prefix}-client`,
  director: `${prefix}-director`,
  servers: `${prefix}-servers`,
}

export const CLIENT = '192.0.2.100'
/** Where the virtual service is: the one address that the client knows. */
export const VIRTUAL = '192.0.2.10'
export const URL = `http://${VIRTUAL}/`
/** The real servers. */
export const SERVERS = /** @type {const} */ ([
  { name: 'A', address: '10.0.0.11' },
  { name: 'B', address: '10.0.0.12' },
])

export async function setUpNetwork() {
  for (const name of Object.values(netns)) await ip('netns', 'add', name)

  // Both ends are made where they belong: this machine's own network never sees them.
  await ip('-n', netns.client, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'eth0', 'netns', netns.director)
  await ip(
    '-n',
    netns.servers,
    'link',
    'add',
    'eth0',
    'type',
    'veth',
    'peer',
    'eth1',
    'netns',
    netns.director,
  )

  await ipBatch(netns.client, [`address add ${CLIENT}/24 dev eth0`, 'link set eth0 up'])

  // The director is the only way between the two networks, so it has to forward packets.
  await ipBatch(netns.director, [
    'link set lo up',
    'address add 192.0.2.1/24 dev eth0',
    `address add ${VIRTUAL}/32 dev eth0`,
    'address add 10.0.0.1/24 dev eth1',
    'link set eth0 up',
    'link set eth1 up',
  ])
  await ip('netns', 'exec', netns.director, 'sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward')

  // The servers answer through the director: it has to see the answers to put the virtual address back into them.
  await ipBatch(netns.servers, [
    ...SERVERS.map(({ address }) => `address add ${address}/24 dev eth0`),
    'link set eth0 up',
    'route add default via 10.0.0.1',
  ])
}

/** Takes away what is there of it. */
export async function tearDownNetwork() {
  for (const name of Object.values(netns)) {
    const there = await access(`/run/netns/${name}`).then(
      () => true,
      () => false,
    )
    if (there) await ip('netns', 'delete', name)
  }
}

/** @param {string[]} args */
async function ip(...args) {
  await run(args, '')
}

/**
 * @param {string} namespace
 * @param {string[]} lines
 */
async function ipBatch(namespace, lines) {
  await run(['-n', namespace, '-batch', '-'], lines.join('\n'))
}

/**
 * @param {string[]} args
 * @param {string} input
 */
async function run(args, input) {
  // Detached: a Ctrl-C must not stop it half-way, least of all while it cleans up.
  const child = spawn('ip', args, { stdio: ['pipe', 'ignore', 'pipe'], detached: true })
  child.stdin.on('error', () => {}) // it ended without reading; its status says why
  child.stdin.end(input)
  const [complaint, [status]] = await Promise.all([text(child.stderr), once(child, 'close')])
  if (status !== 0) throw new Failure(`ip ${args.join(' ')}: ${complaint.trim() || `status ${status}`}`)
}
