package android.view;

import android.content.Context;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public class View {
    public View(Context context) {}

    public void setOnClickListener(OnClickListener listener) {}

    /** A stand-in for Android's interface. */
    public interface OnClickListener {
        void onClick(View view);
    }
}
