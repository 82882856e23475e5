// The table of the screens, as ipvs.snapshot() gives it: addresses of every length, and numbers up to the largest.

/** @param {number} connections */
const statistics = (connections) => ({
  stats: {
    connections,
    packetsIn: connections * 12,
    packetsOut: connections * 9,
    bytesIn: connections * 7_000,
    bytesOut: connections * 123_456,
  },
  rates: {
    connectionsPerSecond: Math.floor(connections / 1e6),
    packetsInPerSecond: Math.floor(connections / 1e5),
    packetsOutPerSecond: Math.floor(connections / 1.3e5),
    bytesInPerSecond: Math.floor(connections / 1e3),
    bytesOutPerSecond: Math.floor(connections / 10),
  },
})

/** @param {string} address @param {number} port @param {object} more @param {number} [connections] */
const server = (address, port, more, connections = 0) => ({
  address,
  port,
  key: { address, port },
  family: address.includes(':') ? 'ipv6' : 'ipv4',
  method: 'masquerade',
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
  activeConnections: 0,
  inactiveConnections: 0,
  persistentConnections: 0,
  ...more,
  ...statistics(connections),
})

/** @param {object} key @param {object} more @param {readonly object[]} realServers @param {number} [connections] */
const entry = (key, more, realServers, connections = 0) => ({
  service: {
    key,
    family: JSON.stringify(key).includes('::') || JSON.stringify(key).includes('2001') ? 'ipv6' : 'ipv4',
    scheduler: 'wlc',
    schedulerFlags: [],
    onePacket: false,
    ...more,
    ...statistics(connections),
  },
  realServers,
})

const LONG = '2001:db8:1234:5678:9abc:def0:1234:'

export const TABLE = [
  entry(
    { protocol: 'tcp', address: '192.0.2.10', port: 80 },
    {},
    [
      server(
        '10.0.0.7',
        8080,
        { weight: 100, activeConnections: 1234, inactiveConnections: 56_789 },
        987_654_321,
      ),
      server(
        '10.0.0.8',
        8080,
        { weight: 50, activeConnections: 617, inactiveConnections: 123_456 },
        87_654_321,
      ),
      server('10.0.0.9', 8080, { weight: 0, upperThreshold: 1000, lowerThreshold: 800 }, 1_000),
    ],
    1_075_309_642,
  ),
  entry(
    { protocol: 'tcp', address: `${LONG}5678`, port: 65535 },
    { scheduler: 'mh', schedulerFlags: ['mh-port'], persistence: { timeoutSeconds: 300, netmask: 64 } },
    [
      server(
        `${LONG}1`,
        65535,
        { weight: 1000, activeConnections: 2 ** 31, persistentConnections: 9_999_999 },
        149e12,
      ),
      server(
        `${LONG}ffff`,
        65535,
        { method: 'tunnel', tunnel: { type: 'gue', port: 6080, checksum: 'csum' } },
        5e9,
      ),
      // Another port than that of the service, which this method ignores.
      server('2001:db8::2', 8443, { method: 'direct' }),
    ],
    149e12,
  ),
  entry({ protocol: 'udp', address: '192.0.2.10', port: 53 }, { scheduler: 'rr', onePacket: true }, []),
  entry({ protocol: 'fwmark', fwmark: 4294967295 }, { scheduler: 'sh' }, [
    server('10.0.0.7', 0, { method: 'direct', weight: 2 ** 31 - 1 }),
  ]),
]
