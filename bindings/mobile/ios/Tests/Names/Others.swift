// A module that an app may use beside `MobileBert`, with types whose names are common.

/// A type as that of RealityKit.
public struct Entity {
    public let owner = "others"
    public init() {}
}

/// A protocol as that of TensorFlowLite.
public protocol Delegate {}

/// A type as that of gRPC.
public struct CallOptions {
    public let owner = "others"
    public init() {}
}
