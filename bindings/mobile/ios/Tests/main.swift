import Foundation

exit(try await run())
