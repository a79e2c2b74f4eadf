package android.graphics;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public final class Color {
    public static final int YELLOW = 0xFFFFFF00;

    private Color() {}
}
