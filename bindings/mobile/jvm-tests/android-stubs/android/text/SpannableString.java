package android.text;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public class SpannableString implements Spanned {
    private final String text;

    public SpannableString(CharSequence text) {
        this.text = text.toString();
    }

    public void setSpan(Object what, int start, int end, int flags) {}

    @Override
    public int length() {
        return text.length();
    }

    @Override
    public char charAt(int index) {
        return text.charAt(index);
    }

    @Override
    public CharSequence subSequence(int start, int end) {
        return text.subSequence(start, end);
    }

    @Override
    public String toString() {
        return text;
    }
}
