package android.os;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public final class Bundle {}
